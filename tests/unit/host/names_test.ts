import { configure, type LogRecord, reset } from "@logtape/logtape";
import { assertEquals } from "@std/assert";
import { Names } from "../../../src/host/names.ts";
import { FakeNet, settle } from "../../support/fake_plane.ts";
import { until } from "../../support/until.ts";

/** What a test has a switch's names do. */
interface Started extends AsyncDisposable {
  readonly net: FakeNet;
  readonly names: Names;
  readonly lines: string[];
  /** Can nothing be listened on? */
  full: boolean;
  /** How often somebody has tried to. */
  tries: number;
}

async function start(): Promise<Started> {
  const lines: string[] = [];
  await configure({
    reset: true,
    sinks: { list: (record: LogRecord) => void lines.push(record.message.map(String).join("")) },
    loggers: [
      { category: ["csvn", "names"], lowestLevel: "info", sinks: ["list"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["list"] },
    ],
  });
  const net = new FakeNet();
  const enforcer = { mayResolve: () => "yes" as const, resolved: () => {} };
  const names = new Names(
    { resolvers: [], services: new Map(), enforcer, clock: net.clock },
    () => net.operator.directory,
  );
  const { listen } = Deno;
  const started: Started = {
    net,
    names,
    lines,
    full: true,
    tries: 0,
    async [Symbol.asyncDispose](): Promise<void> {
      Deno.listen = listen;
      await names[Symbol.asyncDispose]();
      assertEquals(net.clock.pending, 0);
      net[Symbol.dispose]();
      await reset();
    },
  };
  Deno.listen = ((options: Deno.TcpListenOptions) => {
    started.tries++;
    if (started.full) throw new Error("Too many open files (os error 24)");
    return listen(options);
  }) as typeof Deno.listen;
  return started;
}

const failed = "no name service for vm1: Too many open files (os error 24); it is tried again";

Deno.test("Names.attach(): a resolver that cannot be started is tried again until it can be, and that is said once", async () => {
  await using all = await start();
  const { net, names, lines } = all;
  const { vm } = net.boot();
  names.attach(vm);
  await net.clock.pass(10_500);
  assertEquals([all.tries, names.endpoint(vm, "udp", 53), lines], [11, undefined, [failed]]);
  all.full = false;
  await net.clock.pass(1_000);
  await until("the name service", () => names.endpoint(vm, "udp", 53) && names.endpoint(vm, "tcp", 53));
  assertEquals(lines, [failed, "there is a name service for vm1 now"]);
  await net.clock.pass(10_000);
  assertEquals(all.tries, 12, "one is enough");
});

Deno.test("Names: a VM that has gone is not tried for any more, nor when all ends", async () => {
  await using all = await start();
  const { net, names } = all;
  const [one, two, three] = [net.boot(), net.boot(), net.boot()];
  names.attach(one.vm);
  await settle();
  names.detach(one.vm);
  names.attach(two.vm);
  names.detach(two.vm);
  await net.clock.pass(10_000);
  assertEquals([all.tries, net.clock.pending], [2, 0]);
  // One that is about to start when all ends.
  all.full = false;
  names.attach(three.vm);
});
