/**
 * A fake guest that connects to its own address, through the real switch.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { Errno } from "../../src/errno.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { startTestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

Deno.test("a VM connects to itself: bytes and doorbells both ways, and nothing is left", async () => {
  await using net = await startTestSwitch({ limits: { arenaIdleMs: 10 } });
  await using a = await FakeDriver.boot(net.socket);
  await a.listen(80);
  const here = await a.mustConnect(a.address, 80);
  const { circuit: there, remote, local } = await a.accept();
  assertEquals([remote.address.text, local.address.text, local.port], [a.address, a.address, 80]);
  assertEquals([a.arenas.size, net.csvn.status().arenas.length, net.csvn.status().plane.routes], [1, 1, 2]);
  for (const [from, to] of [[here, there], [there, here]] as const) {
    from.write(new TextEncoder().encode("to myself"));
    assertEquals(new TextDecoder().decode(to.read()), "to myself");
    from.ring();
    await until("the wake", () => a.wakes.includes(to.id));
    assertEquals(a.wakes.includes(from.id), from === there);
  }
  assertEquals(await here.close(), 0);
  assertEquals(net.csvn.status().circuits.open, 1);
  assertEquals(await there.close(), 0);
  await until("the arena's end", () => net.csvn.status().arenas.length === 0);
  assertEquals([net.csvn.status().plane.routes, a.arenas.size], [0, 0]);
});

Deno.test("a VM's datagrams to itself: the other end is told when one end has closed", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await a.listen(53, 1, 8, "0.0.0.0", 0, 17);
  const circuit = a.circuitOf(await a.answer(a.postConnect(a.address, 53, { protocol: 17 })));
  if (typeof circuit === "number") throw new Error(`errno ${circuit}`);
  const incoming = await until("it", () => a.incoming.shift());
  assertEquals(await circuit.close(), 0);
  await until("the other end is told", () => a.resets.get(incoming.circuit.id) === 0);
  assertEquals(await incoming.circuit.close(), 0);
});

Deno.test("a VM that is denied to itself, and one that dies with circuits to itself", async () => {
  await using net = await startTestSwitch({
    verdict: ({ from, to, destination }) => ({ allow: from === to && destination.port === 80, reason: "test" }),
  });
  await using a = await FakeDriver.boot(net.socket);
  const b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  assertEquals([await a.connect(b.address, 80), await b.connect(b.address, 81)], [
    Errno.ECONNREFUSED,
    Errno.ECONNREFUSED,
  ]);
  for (let i = 0; i < 5; i++) await b.mustConnect(b.address, 80);
  await b[Symbol.asyncDispose]();
  await until("nothing is left", () => {
    const { circuits, arenas, plane } = net.csvn.status();
    return circuits.open === 0 && arenas.length === 0 && plane.routes === 0;
  });
});
