/**
 * Circuits between fake guests, through the real switch: sockets, memfds, virtqueues and the helper library are real.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Errno } from "../../src/errno.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { startTestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

Deno.test("two VMs exchange bytes over a direct circuit", async () => {
  await using net = await startTestSwitch();
  await using web = await FakeDriver.boot(net.socket);
  await using client = await FakeDriver.boot(net.socket);
  assertEquals([web.name, web.address, client.name, client.address], ["vm1", "10.77.0.2", "vm2", "10.77.0.3"]);
  assertEquals((await web.listen(80)).error, 0);

  const here = await client.mustConnect(web.address, 80);
  const { circuit: there, remote, local } = await web.accept();
  assertEquals([remote.address.text, local.address.text, local.port], [client.address, web.address, 80]);

  here.write(new TextEncoder().encode("question"));
  assertEquals(new TextDecoder().decode(there.read()), "question");
  there.write(new TextEncoder().encode("answer"));
  assertEquals(new TextDecoder().decode(here.read()), "answer");

  there.arm();
  here.ring();
  await until("the wake", () => web.wakes.includes(there.id));

  assertEquals(await here.close(), 0);
  assertEquals(net.csvn.status().circuits.open, 1, "the other end may still read");
  assertEquals(await there.close(), 0);
  assertEquals(net.csvn.status().circuits, { open: 0, total: 1 });
  assert(net.log.some((line) => /circuit 1 closed: .*vm2.* -> .*vm1.*, tcp direct, 8 bytes there, 6 back/.test(line)));
});

Deno.test("nobody listens: ECONNREFUSED; nobody there: EHOSTUNREACH, ENETUNREACH", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  assertEquals(await a.connect(b.address, 80), Errno.ECONNREFUSED);
  assertEquals(await a.connect("10.77.9.9", 80), Errno.EHOSTUNREACH);
  assertEquals(await a.connect("192.0.2.1", 80), Errno.ENETUNREACH);
  assertEquals(await a.connect("10.77.0.1", 80), Errno.ECONNREFUSED);
});

Deno.test("a denied connection is refused, and the log says who, where to and why", async () => {
  await using net = await startTestSwitch({ verdict: () => ({ allow: false, reason: "because of the test" }) });
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  assertEquals(await a.connect(b.address, 80), Errno.ECONNREFUSED);
  const line = net.log.find((text) => text.startsWith("denied"));
  assertStringIncludes(line ?? "", "because of the test");
  assertStringIncludes(line ?? "", `-> ${b.name} ${b.address}:80`.replace(b.name, `${b.name}`));
  assertEquals(b.incoming.length, 0);
});

Deno.test("a full backlog makes connections wait, in order, until there is credit", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80, 7, 1);
  const tokens = [1, 2, 3, 4].map(() => a.postConnect(b.address, 80));
  await until("two connections", () => b.incoming.length === 2);
  await until("two answers", () => a.answered(tokens[0]!) && a.answered(tokens[1]!));
  assertEquals([a.answered(tokens[2]!), a.answered(tokens[3]!)], [false, false]);
  await b.credit(7, 1);
  assertEquals((await a.answer(tokens[2]!)).error, 0);
  assertEquals(a.answered(tokens[3]!), false);
  assertEquals((await a.cancel(tokens[3]!)).error, 0);
  assertEquals((await a.answer(tokens[3]!)).error, Errno.ECANCELED);
  const last = a.postConnect(b.address, 80);
  await b.unlisten(7);
  assertEquals((await a.answer(last)).error, Errno.ECONNREFUSED);
});

Deno.test("a connection that waits for a backlog too long times out", async () => {
  await using net = await startTestSwitch({ limits: { connectMs: 50 } });
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80, 7, 0);
  await a.mustConnect(b.address, 80);
  assertEquals(await a.connect(b.address, 80), Errno.ETIMEDOUT);
});

Deno.test("a VM that goes away resets its peers' circuits and nothing else", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using c = await FakeDriver.boot(net.socket);
  const b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  await c.listen(80);
  const dying = await a.mustConnect(b.address, 80);
  const living = await a.mustConnect(c.address, 80);
  await b[Symbol.asyncDispose]();
  await until("the reset", () => a.resets.get(dying.id) === Errno.ECONNRESET);
  assertEquals(a.resets.has(living.id), false);
  assertEquals(await dying.close(), 0);
  await until("the arena's end", () => net.csvn.status().arenas.length === 1);
  assertEquals(a.arenas.size, 1);
  living.write(Uint8Array.of(1));
  assertEquals((await c.accept()).circuit.read(), Uint8Array.of(1));
});

Deno.test("a VM that connected and went away leaves no route, and its peer's ids are used again", async () => {
  await using net = await startTestSwitch();
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  for (let i = 0; i < 3; i++) {
    const a = await FakeDriver.boot(net.socket);
    for (let k = 0; k < 5; k++) await a.mustConnect(b.address, 80);
    const held = await Promise.all(Array.from({ length: 5 }, () => b.accept()));
    await a[Symbol.asyncDispose]();
    await until("the resets", () => held.every(({ circuit }) => b.resets.has(circuit.id)));
    for (const { circuit } of held) assertEquals(await circuit.close(), 0);
    await until("no route", () => net.csvn.status().plane.routes === 0);
    b.resets.clear();
  }
  assertEquals(net.csvn.status().circuits, { open: 0, total: 15 });
});

Deno.test("BYE, and a reset device that says HELLO again", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  const circuit = await a.mustConnect(b.address, 80);
  assertEquals((await b.bye()).error, 0);
  await until("the reset", () => a.resets.has(circuit.id));
  assertEquals((await b.listen(80)).error, Errno.EPROTO);
  assertEquals(await a.connect(b.address, 80), Errno.EHOSTUNREACH);
  await b.stop();
  await b.start();
  assertEquals((await b.hello()).error, 0);
  assertEquals(await a.connect(b.address, 80), Errno.ECONNREFUSED, "listeners are told anew");
  await b.listen(80);
  await a.mustConnect(b.address, 80);
});

Deno.test("IPv6 and dual-stack listeners", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  assertEquals(b.address6, "fd77:6373:766e::3");
  await b.listen(80, 1, 10, "::");
  await b.listen(81, 2, 10, "::", 1);
  await a.mustConnect(b.address6, 80);
  await a.mustConnect(b.address, 80);
  await a.mustConnect(`::ffff:${b.address}`, 80);
  await a.mustConnect(b.address6, 81);
  assertEquals(await a.connect(b.address, 81), Errno.ECONNREFUSED);
  assertEquals((await b.listen(82, 3, 10, "10.77.0.9")).error, Errno.EADDRNOTAVAIL);
});

Deno.test("listeners on one port share connections out", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80, 1);
  await b.listen(80, 2);
  for (let i = 0; i < 10; i++) await a.mustConnect(b.address, 80);
  await until("all", () => b.incoming.length === 10);
  assertEquals(b.incoming.filter(({ listener }) => listener === 1).length, 5);
});

Deno.test("a third VM's window holds nothing of a pair's arena", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await using c = await FakeDriver.boot(net.socket);
  await b.listen(80);
  const circuit = await a.mustConnect(b.address, 80);
  circuit.write(new Uint8Array(1000).fill(7));
  assertEquals([a.frontEnd.maps.size, b.frontEnd.maps.size, c.frontEnd.maps.size], [1, 1, 0]);
  const { bytesAt } = await import("../support/native.ts");
  for (const [offset, length] of a.frontEnd.maps) {
    assert(bytesAt(c.frontEnd.window, offset, Math.min(length, 1 << 20)).every((byte) => byte === 0));
  }
});

Deno.test("no circuit starts with another's bytes, and closed ones leave nothing behind", async () => {
  await using net = await startTestSwitch({ limits: { arenaIdleMs: 20, arenaBytes: 2 ** 20 } });
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  const before = net.csvn.status();
  for (let i = 0; i < 20; i++) {
    const here = await a.mustConnect(b.address, 80);
    const { circuit: there } = await b.accept();
    assert(there.rx.every((byte) => byte === 0) && here.rx.every((byte) => byte === 0));
    here.write(new Uint8Array(200_000).fill(i + 1));
    there.read();
    await here.close();
    await there.close();
  }
  await until("the arena's end", () => net.csvn.status().arenas.length === 0);
  const after = net.csvn.status();
  assertEquals(after.circuits, { open: 0, total: 20 });
  // A VM's resolver may have come up meanwhile; one descriptor left by each circuit would show.
  assert(after.descriptors - before.descriptors < 10, `${before.descriptors} descriptors became ${after.descriptors}`);
  await until("no route", () => net.csvn.status().plane.routes === 0);
  assertEquals([a.arenas.size, b.arenas.size, a.frontEnd.maps.size, b.frontEnd.maps.size], [0, 0, 0, 0]);
});

Deno.test("a pair gets further arenas when one is full", async () => {
  await using net = await startTestSwitch({ limits: { arenaBytes: 2 ** 21, arenaMaxBytes: 2 ** 22 } });
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80, 80, 1000);
  const tokens = Array.from({ length: 40 }, () => a.postConnect(b.address, 80));
  const ids = new Set<number>();
  for (const token of tokens) {
    const circuit = a.circuitOf(await a.answer(token));
    assert(typeof circuit !== "number", `errno ${circuit}`);
    circuit.write(Uint8Array.of(ids.size));
    ids.add(circuit.id);
  }
  assertEquals(ids.size, 40);
  assert(net.csvn.status().arenas.length > 3);
  await until("all", () => b.incoming.length === 40);
  assertEquals(new Set(b.incoming.map(({ circuit }) => circuit.read()[0])).size, 40);
});

Deno.test("data and doorbells run no JavaScript", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  const here = await a.mustConnect(b.address, 80);
  const { circuit: there } = await b.accept();
  const before = net.csvn.status().plane;
  for (let i = 0; i < 200; i++) {
    here.write(new Uint8Array(1000));
    here.ring();
    await until("a wake", () => b.wakes.shift() === there.id);
    there.read();
  }
  const after = net.csvn.status().plane;
  assertEquals([after.events, after.parks], [before.events, before.parks]);
  assertEquals(after.doorbells - before.doorbells, 200);
});

Deno.test("datagram circuits between VMs: bound, connected, and gone with either end", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  const udp = (port: number): bigint => a.postConnect(b.address, port, { protocol: 17 });
  assertEquals((await a.answer(udp(53))).error, Errno.ECONNREFUSED);
  await b.listen(53, 1, 1, "0.0.0.0", 0, 17);
  await b.listen(53, 2, 1);
  const circuit = a.circuitOf(await a.answer(udp(53)));
  assert(typeof circuit !== "number");
  const incoming = await until("it", () => b.incoming.shift());
  assertEquals([incoming.listener, incoming.remote.address.text], [1, a.address]);
  assert(typeof a.circuitOf(await a.answer(udp(53))) !== "number");
  assertEquals((await a.answer(udp(53))).error, Errno.ENOBUFS, "no more circuits than it takes");
  await circuit.close();
  await until("the other end is told", () => b.resets.get(incoming.circuit.id) === 0);
  assertEquals(await incoming.circuit.close(), 0);
});

Deno.test("a front-end that stands still costs its session nothing: what it maps late is unmapped, and all goes on", async () => {
  await using net = await startTestSwitch({ limits: { arenaAnswerMs: 100 } });
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await using c = await FakeDriver.boot(net.socket);
  await b.listen(80);
  await c.mustConnect(b.address, 80);
  b.frontEnd.standsStill = true;
  assertEquals(await a.connect(b.address, 80), Errno.ENOBUFS);
  await c.mustConnect(b.address, 80);
  const maps = b.frontEnd.maps.size;
  b.frontEnd.standsStill = false;
  await until("it is given up on both sides", () => net.csvn.status().arenas.length === 1);
  assertEquals([b.frontEnd.maps.size, net.csvn.status().vms[1]!.arenas], [maps, 1]);
  await a.mustConnect(b.address, 80);
  assertEquals([b.frontEnd.maps.size, net.csvn.status().vms.map(({ arenas }) => arenas)], [2, [1, 2, 1]]);
});
