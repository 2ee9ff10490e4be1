/**
 * A peer that is gone without a word is noticed, as natively: by keepalive and by the user timeout of the guest's socket, of connections
 * to the outside and of those to a published port. The outside is a network namespace, whose cable is cut.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { Errno } from "../../src/errno.ts";
import { Option } from "../../src/circuit/records.ts";
import type { FakeCircuit } from "../support/fake_circuit.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { Namespaces, OUTSIDE, SWITCH } from "../support/namespaces.ts";
import { socketOptions } from "../support/socket_options.ts";
import { until } from "../support/until.ts";

const project = fromFileUrl(new URL("../..", import.meta.url));

// Holds what comes in, and connects to the published port, as soon as there is one.
const OUTSIDER = `
const kept = [];
(async () => { for await (const connection of Deno.listen({ port: 7003 })) kept.push(connection); })();
console.log("listening");
for (;;) {
  try {
    kept.push(await Deno.connect({ hostname: "${SWITCH.v4}", port: 8080 }));
    break;
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
await new Promise((resolve) => setTimeout(resolve, 3600_000));
`;

function run(net: Namespaces, which: "switch" | "outside", args: string[], log: string): AsyncDisposable {
  const child = net.deno(which, args, log).spawn();
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      child.kill("SIGTERM");
      await child.status;
    },
  };
}

const keepalive = socketOptions({
  set: Option.KEEPALIVE | Option.KEEP_TIMES,
  keepalive: 1,
  keep_idle: 1,
  keep_interval: 1,
  keep_count: 2,
});
const userTimeout = socketOptions({ set: Option.USER_TIMEOUT, user_timeout: 2000 });

Deno.test("a peer that has vanished is noticed by keepalive and by the user timeout, whoever connected", async () => {
  const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  const net = stack.use(await Namespaces.make());
  await Deno.writeTextFile(`${directory}/outsider.ts`, OUTSIDER);
  const socket = `${directory}/csvn.sock`;
  stack.use(run(net, "outside", ["run", "-A", `${directory}/outsider.ts`], `${directory}/outside.log`));
  stack.use(run(
    net,
    "switch",
    ["run", "-A", `${project}mod.ts`, "--socket", socket, "--publish", `${SWITCH.v4}:8080=vm1:80`],
    `${directory}/switch.log`,
  ));
  const logs = async (name: string): Promise<string> => await Deno.readTextFile(`${directory}/${name}.log`);
  await until("the outside", async () => (await logs("outside").catch(() => "")).includes("listening"), 60_000);
  await until("the switch", async () => (await logs("switch").catch(() => "")).includes("listening"), 60_000);
  const vm = stack.use(await FakeDriver.boot(socket));

  const connect = async (options: Uint8Array<ArrayBuffer> | undefined): Promise<FakeCircuit> => {
    const circuit = vm.circuitOf(await vm.answer(vm.postConnect(OUTSIDE.v4, 7003, { options })));
    if (typeof circuit === "number") throw new Error(`connect failed with ${circuit}`);
    return circuit;
  };
  const before = await connect(keepalive); // told with CONNECT
  const later = await connect(undefined); // told afterwards
  assertEquals(await vm.setOptions(later.id, keepalive), 0);
  const sending = await connect(userTimeout);
  const patient = await connect(undefined);
  await vm.listen(80);
  const { circuit: published } = await vm.accept();
  assertEquals(await vm.setOptions(published.id, keepalive), 0);
  assertEquals(await vm.setOptions(4711, keepalive), Errno.ENOENT);

  await net.run("outside", "ip link set cable down");
  sending.write(new Uint8Array(100));
  sending.ring();
  for (const circuit of [before, later, sending, published]) {
    await until(`the end of circuit ${circuit.id}`, () => vm.resets.has(circuit.id), 60_000);
    assertEquals([vm.resets.get(circuit.id), circuit.peerState], [Errno.ETIMEDOUT, 0]);
    assertEquals(await circuit.close(), 0);
  }
  assertEquals([vm.resets.has(patient.id), patient.peerState], [false, 0], "who did not ask waits");
});
