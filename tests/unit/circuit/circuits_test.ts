import { assert, assertEquals } from "@std/assert";
import { CLOSE_VIOLATION } from "../../../src/circuit/records.ts";
import { describeEnds } from "../../../src/circuit/circuit.ts";
import type { OpenedDatagram } from "../../../src/circuit/datagram_sockets.ts";
import { Errno, SystemError } from "../../../src/errno.ts";
import { parseAddress } from "../../../src/net/address.ts";
import { FakeNet, type FakeVm, settle } from "../../support/fake_plane.ts";

async function pair(limits = {}): Promise<{ net: FakeNet; a: FakeVm; b: FakeVm; here: number; there: number }> {
  const net = new FakeNet({ limits });
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80);
  const ticket = a.connect("10.77.0.3", 80);
  await settle();
  return { net, a, b, here: a.circuit(ticket), there: b.incoming[0]! };
}

Deno.test("a circuit is given back when both ends have closed, and not before", async () => {
  const { net, a, b, here, there } = await pair();
  using _ = net;
  const { circuits } = net.operator;
  assertEquals([circuits.size, circuits.total, a.routes.get(here)], [1, 1, [b, there]]);
  assertEquals(a.close(here), 0);
  assertEquals([a.close(here), circuits.size, b.routes.size, net.memories[0]!.punched], [Errno.ENOENT, 1, 1, []]);
  assertEquals(b.close(there), 0);
  assertEquals([circuits.size, circuits.total, a.routes.size, b.routes.size], [0, 1, 0, 0]);
  await settle();
  assertEquals(net.memories[0]!.punched.length, 1);
  assertEquals([a.holds.circuits.size, b.holds.circuits.size, [...net.operator.arenas.all][0]!.circuits], [0, 0, 0]);
});

Deno.test("ids and slots are kept until the data plane has let go of them", async () => {
  const { net, a, b, here, there } = await pair({ maxCircuits: 1 });
  using _ = net;
  const arena = [...net.operator.arenas.all][0]!;
  net.acknowledgements.held = true;
  a.close(here);
  b.close(there);
  await settle();
  assertEquals([net.operator.circuits.size, arena.circuits, net.acknowledgements.waiting], [0, 1, 3]);
  const early = a.connect("10.77.0.3", 80);
  await settle();
  assertEquals(a.errno(early), Errno.ENOBUFS, "its only id may still be rung");
  const { punched } = net.memories[0]!;
  const before = punched.length;
  net.acknowledgements.release(1);
  await settle();
  assertEquals([arena.circuits, punched.length], [1, before]);
  net.acknowledgements.release();
  await settle();
  assertEquals([arena.circuits, punched.length], [0, before], "its slot is nobody's until the janitor has zeroed it");
  net.acknowledgements.release();
  await settle();
  assertEquals([arena.circuits, punched.length], [0, before + 1]);
  const late = a.connect("10.77.0.3", 80);
  await settle();
  assertEquals(a.errno(late), 0);
});

Deno.test("a switch that stops closes what the host's stack has not finished", async () => {
  const net = new FakeNet({ outside: true });
  const a = net.boot();
  const ticket = a.connect("192.0.2.1", 80);
  await settle();
  assertEquals(a.close(a.circuit(ticket)), 0);
  net[Symbol.dispose]();
  assertEquals([net.host.circuits.size, net.operator.circuits.size], [0, 0]);
});

Deno.test("what is acknowledged after the switch has stopped is no error", async () => {
  const { net, a, b, here, there } = await pair();
  net.acknowledgements.held = true;
  a.close(here);
  b.close(there);
  net[Symbol.dispose]();
  net.acknowledgements.release();
  await settle();
});

Deno.test("a CLOSE of another VM's circuit is ENOENT", async () => {
  const { net, a, b, here, there } = await pair();
  using _ = net;
  const c = net.boot();
  assertEquals(
    [c.close(here), c.close(there), a.close(here + (1 << 20)), a.close(0xffffffff)],
    Array(4).fill(Errno.ENOENT),
  );
  assertEquals([a.resets, b.resets, net.operator.circuits.size], [[], [], 1]);
});

Deno.test("a violation resets the peer once; a CLOSE without one does not", async () => {
  const { net, a, b, here, there } = await pair();
  using _ = net;
  assertEquals(a.close(here, CLOSE_VIOLATION), 0);
  assertEquals([b.resets, a.resets], [[[there, Errno.ECONNRESET]], []]);
  assertEquals(b.close(there, CLOSE_VIOLATION), 0);
  assertEquals([a.resets, net.operator.circuits.size], [[], 0]);
});

Deno.test("a VM that goes down resets its peers' circuits; their ends stay until they are closed", async () => {
  const { net, a, b, here } = await pair();
  using _ = net;
  b.destroy();
  assertEquals([a.resets, net.operator.circuits.size, net.memories[0]!.disposed], [[[here, Errno.ECONNRESET]], 1, 0]);
  assertEquals(a.close(here), 0);
  await settle();
  assertEquals([net.operator.circuits.size, net.memories[0]!.disposed, a.maps.size, a.routes.size], [0, 1, 0, 0]);
});

Deno.test("the route of an end goes with its circuit, whichever VM was destroyed before", async () => {
  for (const dying of ["a", "b"] as const) {
    const { net, a, b, here, there } = await pair();
    using _ = net;
    if (dying === "a") a.destroy();
    else b.destroy();
    assertEquals(dying === "a" ? b.close(there) : a.close(here), 0);
    assertEquals([a.routes.size, b.routes.size], [0, 0]);
  }
});

Deno.test("a route that cannot be added makes the attempt ENOBUFS, and leaves nothing", async () => {
  const net = new FakeNet();
  using _ = net;
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80);
  a.addRoute = () => {
    throw new SystemError("add a route", Errno.ENOMEM);
  };
  const ticket = a.connect("10.77.0.3", 80);
  await settle();
  assertEquals([a.errno(ticket), b.incoming, net.operator.circuits.size], [Errno.ENOBUFS, [], 0]);
  assertEquals([a.holds.circuits.size, b.holds.circuits.size, [...b.holds.listeners.values()][0]!.outstanding], [
    0,
    0,
    0,
  ]);
});

Deno.test("a circuit whose end is closed is not reset any more", async () => {
  const { net, a, b, here } = await pair();
  using _ = net;
  a.close(here);
  b.reset();
  assertEquals([a.resets, net.operator.circuits.size], [[], 0]);
});

Deno.test("a listener whose VM has no id left makes the attempt ENOBUFS, and leaves nothing", async () => {
  const net = new FakeNet({ limits: { maxCircuits: 1 } });
  using _ = net;
  const [a, b, c] = [net.boot(), net.boot(), net.boot()];
  b.listen(80);
  const one = a.connect("10.77.0.3", 80);
  await settle();
  const two = c.connect("10.77.0.3", 80);
  await settle();
  assertEquals([a.errno(one), c.errno(two), net.operator.circuits.size, c.holds.circuits.size], [
    0,
    Errno.ENOBUFS,
    1,
    0,
  ]);
  assertEquals([...net.operator.arenas.all].map(({ circuits }) => circuits), [1]);
  a.close(a.circuit(one));
  b.close(b.incoming[0]!);
  await settle();
  const three = c.connect("10.77.0.3", 80);
  await settle();
  assertEquals(c.errno(three), 0, "ids are given back");
});

Deno.test("circuits that the host's stack has not finished count, though the VM has closed them", async () => {
  // An arena has room for three.
  const net = new FakeNet({ outside: true, limits: { maxCircuits: 3, ringBytes: 16 << 10, arenaBytes: 128 << 10 } });
  using _ = net;
  const a = net.boot();
  net.host.takes = false;
  const open = async (): Promise<number> => {
    const ticket = a.connect("192.0.2.1", 80);
    await settle();
    if (a.errno(ticket) === 0) assertEquals(a.close(a.circuit(ticket)), 0);
    await settle();
    return a.errno(ticket)!;
  };
  const outcomes = [];
  for (let i = 0; i < 6; i++) outcomes.push(await open());
  const { ENOBUFS } = Errno;
  assertEquals(outcomes, [0, 0, 0, ENOBUFS, ENOBUFS, ENOBUFS]);
  assertEquals([net.operator.circuits.size, net.host.circuits.size], [3, 3]);
  assertEquals(net.memories.length, 1, "no arena is made for what cannot be");
  net.host.drain();
  await settle();
  assertEquals([await open(), net.operator.circuits.size], [0, 1]);
});

Deno.test("a VM that has no circuit left may talk to one more address by those that it has, and is told what policy denies", async () => {
  const net = new FakeNet({
    outside: true,
    limits: { maxCircuits: 1 },
    verdict: ({ destination: { port } }) => ({ allow: port === 53, reason: "test" }),
  });
  using _ = net;
  const a = net.boot();
  const errnos = [];
  for (
    const [host, port, fromPort] of [["192.0.2.1", 53, 1], ["192.0.2.2", 53, 1], ["192.0.2.3", 54, 1], [
      "192.0.2.1",
      53,
      2,
    ]] as const
  ) {
    const ticket = a.connect(host, port, { protocol: 17, fromPort, token: BigInt(errnos.length + 1) });
    await settle();
    errnos.push(a.errno(ticket));
  }
  assertEquals(errnos, [0, 0, Errno.ECONNREFUSED, Errno.ENOBUFS]);
});

Deno.test("no arena is made for a connection to a published port whose VM has no circuit left", async () => {
  const net = new FakeNet({
    outside: true,
    limits: { maxCircuits: 3, ringBytes: 16 << 10, arenaBytes: 128 << 10 },
    publish: [{ protocol: "tcp", host: { address: parseAddress("0.0.0.0"), port: 8080 }, vm: "vm1", port: 80 }],
  });
  using _ = net;
  const a = net.boot();
  a.listen(80, 80, 10);
  await settle();
  const states = [];
  for (let i = 0; i < 5; i++) {
    const connection = net.host.accept("0.0.0.0:8080", { address: parseAddress("192.0.2.1"), port: 1000 + i });
    await settle();
    states.push(connection.state);
  }
  assertEquals(states, ["taken", "taken", "taken", "refused", "refused"]);
  assertEquals([net.memories.length, [...a.holds.listeners.values()][0]!.outstanding], [1, 3]);
});

Deno.test("an arena that cannot be zeroed gets nothing new, and nothing else is lost", async () => {
  const { net, a, b, here, there } = await pair();
  using _ = net;
  const { arenas } = net.operator;
  a.connect("10.77.0.3", 80);
  await settle();
  const [, other] = a.holds.circuits.keys();
  const before = a.vm.window.free;
  net.memories[0]!.wipe = () => Promise.reject(new SystemError("zero a slot", Errno.EBUSY));
  assertEquals([a.close(here), b.close(there)], [0, 0]);
  await settle();
  assertEquals([...arenas.all].map(({ circuits, state }) => [circuits, state]), [[1, "abandoned"]]);
  const next = a.connect("10.77.0.3", 80);
  await settle();
  assertEquals([a.errno(next), net.memories.map(({ length }) => length)], [0, [
    net.limits.arenaBytes,
    net.limits.arenaBytes,
  ]]);
  a.close(other!);
  for (const id of b.holds.circuits.keys()) b.close(id);
  await settle();
  assertEquals([net.memories.map(({ disposed }) => disposed), a.vm.window.free], [[1, 0], before]);
});

Deno.test("slots that are being zeroed are waited for, before another arena is made", async () => {
  const { net, a, b, here, there } = await pair();
  using _ = net;
  const { arenas } = net.operator;
  const [arena] = arenas.all;
  while (arenas.takeSlot(a.vm, b.vm));
  net.janitor.held = true;
  assertEquals([a.close(here), b.close(there)], [0, 0]);
  await settle();
  const next = a.connect("10.77.0.3", 80);
  await settle();
  assertEquals([a.errno(next), net.memories.length, arena!.cleaning !== undefined], [undefined, 1, true]);
  net.janitor.held = false;
  net.janitor.release();
  await settle();
  assertEquals([a.errno(next), net.memories.length], [0, 1]);
});

Deno.test("describeEnds() names both ends", async () => {
  const { net } = await pair();
  using _ = net;
  const [circuit] = net.operator.circuits.all;
  assertEquals(describeEnds(circuit!), "vm1 10.77.0.2:40000 -> vm2 10.77.0.3:80");
});

/** A map that counts how often somebody looks into it. */
class CountingMap<K, V> extends Map<K, V> {
  looks = 0;
  override *[Symbol.iterator](): MapIterator<[K, V]> {
    for (const entry of super[Symbol.iterator]()) {
      this.looks++;
      yield entry;
    }
  }
  override get(key: K): V | undefined {
    this.looks++;
    return super.get(key);
  }
}

Deno.test("closing datagram sockets takes as many looks as there are, in whatever order", async () => {
  const looks: number[] = [];
  for (const count of [200, 400]) {
    const net = new FakeNet({ outside: true });
    using _ = net;
    const a = net.boot();
    const map = new CountingMap<string, OpenedDatagram>();
    net.operator.circuits.datagrams.of = () => map;
    for (let i = 0; i < count; i++) {
      a.connect("192.0.2.1", 53, { protocol: 17, fromPort: 1 + i, token: BigInt(1 + i) });
      await settle();
    }
    assertEquals(map.size, count);
    map.looks = 0;
    for (const id of [...a.holds.circuits.keys()].reverse()) assertEquals(a.close(id), 0);
    await settle();
    assertEquals([map.size, net.host.datagrams.size], [0, 0]);
    looks.push(map.looks);
  }
  assert(looks[1]! <= 2.5 * looks[0]!, `${looks}`);
});

Deno.test("a VM that goes down with very many circuits is closed over several turns, and its next driver has none of them", async () => {
  const net = new FakeNet({
    limits: { ringBytes: 16 << 10, arenaBytes: 2 ** 30, windowBytes: 2 ** 36, maxAttempts: 20_000 },
  });
  using _ = net;
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80, 80, 10_000);
  for (let i = 0; i < 3500; i++) a.connect("10.77.0.3", 80, { token: BigInt(1 + i), fromPort: 1 + i });
  await settle();
  const old = new Set(a.holds.circuits.keys());
  assertEquals(a.hello(), 0);
  assertEquals([a.holds.circuits.size, b.resets.length, net.operator.circuits.size], [0, 1000, 3500], "some at once");
  const ticket = a.connect("10.77.0.3", 80, { token: 1n });
  await settle();
  assertEquals([a.errno(ticket), old.has(a.circuit(ticket)), b.resets.length], [0, false, 1000]);
  // Both ends of those that have not had their turn go as well.
  for (const id of b.incoming.slice(3000, 3500)) assertEquals(b.close(id), 0);
  b.reset();
  await net.clock.pass(0);
  assertEquals([new Set(b.resets.map(([id]) => id)).size, b.resets.length, a.resets.length], [1000, 1000, 1]);
  assertEquals(net.operator.circuits.size, 1, "the new one, whose end at a is open");
  assertEquals([a.close(a.circuit(ticket)), net.operator.circuits.size, a.routes.size, b.routes.size], [0, 0, 0, 0]);
});

Deno.test("a switch that stops closes what VMs have left, at once", async () => {
  const net = new FakeNet({ limits: { ringBytes: 16 << 10, arenaBytes: 2 ** 30, maxAttempts: 20_000 } });
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80, 80, 10_000);
  for (let i = 0; i < 2500; i++) a.connect("10.77.0.3", 80, { token: BigInt(1 + i), fromPort: 1 + i });
  await settle();
  net[Symbol.dispose]();
  assertEquals([net.operator.circuits.size, a.routes.size, net.clock.pending], [0, 0, 0]);
  assertEquals(net.memories.map(({ disposed }) => disposed), [1]);
});

Deno.test("a VM whose peers do not take their resets takes them along, one after the other", async () => {
  const net = new FakeNet({ limits: { ringBytes: 16 << 10 } });
  using _ = net;
  const vms = Array.from({ length: 4 }, () => net.boot());
  for (const vm of vms) vm.listen(80, 80, 100);
  for (const vm of vms) {
    for (const [i, other] of vms.entries()) vm.connect(other.vm.identity.ipv4.text, 80, { fromPort: 1 + i });
  }
  await settle();
  assertEquals(net.operator.circuits.size, 16);
  for (const vm of vms) vm.announceErrno = Errno.ENOBUFS;
  vms[0]!.reset();
  await net.clock.pass(0);
  assertEquals([net.operator.circuits.size, vms.map(({ vm }) => vm.state)], [
    0,
    ["attached", "faulted", "faulted", "faulted"],
  ]);
});
