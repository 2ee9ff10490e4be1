import { getLogger } from "@logtape/logtape";
import { assertEquals } from "@std/assert";
import { Resolver } from "../../../src/dns/resolver.ts";
import { fixedUpstreams } from "../../../src/dns/upstreams.ts";
import { CapturedLog } from "../../support/captured_log.ts";
import { FakeClock, settle } from "../../support/fake_clock.ts";

Deno.test("a resolver that cannot accept connections says so once in a minute, and goes on", async () => {
  await using log = await CapturedLog.begin();
  const { lines } = log;
  const { listen } = Deno;
  let accepts = 0;
  // One in three comes in all the same.
  const accept = (): Promise<Deno.Conn> =>
    ++accepts % 3 === 0
      ? Promise.resolve({ read: () => Promise.resolve(null), close: () => {} } as unknown as Deno.Conn)
      : Promise.reject(new Error("Too many open files (os error 24)"));
  Deno.listen = (() => ({
    addr: { transport: "tcp", hostname: "127.0.0.1", port: 53 },
    accept,
    close: () => {},
  })) as unknown as typeof Deno.listen;
  const clock = new FakeClock();
  {
    await using _ = await Resolver.start({
      zone: { lookup: () => undefined },
      upstreams: fixedUpstreams([]),
      hostname: "127.0.0.1",
      log: getLogger(["csvn", "dns"]),
      clock,
    });
    await settle();
    await clock.pass(59_000);
    assertEquals([accepts > 500, lines.length], [true, 1]);
    await clock.pass(60_000);
    assertEquals([accepts > 1000, lines.length], [true, 2]);
    assertEquals(
      new Set(lines),
      new Set(["a connection was not accepted: Error: Too many open files (os error 24); it is tried again"]),
    );
  }
  Deno.listen = listen;
});
