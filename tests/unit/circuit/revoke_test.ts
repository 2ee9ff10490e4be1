import { assertEquals } from "@std/assert";
import { EventType, RequestType } from "../../../src/circuit/records.ts";
import { FakeNet, type FakeVm, settle } from "../../support/fake_plane.ts";

const B = "10.77.0.3";
const limits = { ringBytes: 16384, arenaBytes: 2 << 20, arenaMaxBytes: 2 << 20, windowBytes: 2 ** 24, revokeMs: 5 };

interface Pair extends Disposable {
  readonly net: FakeNet;
  readonly a: FakeVm;
  readonly b: FakeVm;
  /** Ports that are forbidden. */
  readonly forbidden: Set<number>;
  /** Connect from a to a port of b: the circuit's ids. */
  connect(port: number): Promise<[number, number]>;
}

function pair(change = {}): Pair {
  const forbidden = new Set<number>();
  const net = new FakeNet({
    verdict: ({ destination }) => ({ allow: !forbidden.has(destination.port), reason: "test" }),
    limits: { ...limits, ...change },
  });
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80);
  b.listen(81);
  let port = 1000;
  return {
    net,
    a,
    b,
    forbidden,
    async connect(to): Promise<[number, number]> {
      const ticket = a.connect(B, to, { fromPort: port++ });
      await settle();
      return [a.circuit(ticket), b.incoming.at(-1)!];
    },
    [Symbol.dispose]: () => net[Symbol.dispose](),
  };
}

Deno.test("an arena whose last circuit was cut is taken from both windows, whatever the drivers do", async () => {
  using p = pair();
  const { net, a, b, forbidden } = p;
  const [here, there] = await p.connect(80);
  const free = a.vm.window.free;
  forbidden.add(80);
  net.operator.revise();
  await settle();
  assertEquals([a.maps.size, b.maps.size], [1, 1], "they have their time");
  await net.clock.pass(20);
  assertEquals([a.maps.size, b.maps.size], [0, 0]);
  assertEquals(net.memories[0]!.punched, [[4096, (2 << 20) - 4096]], "and its pages are given back");
  assertEquals([a.holds.circuits.has(here), a.vm.window.free, net.operator.circuits.size], [true, free, 1]);
  assertEquals([a.of(EventType.ARENA_RETIRE).length, net.memories[0]!.disposed], [0, 0], "they hold circuits in it");

  // Another circuit of the pair has another arena, at another place.
  const [, again] = await p.connect(81);
  assertEquals([net.memories.length, b.holds.circuits.has(again), a.maps.size], [2, true, 1]);

  // They close at last: the driver is told to forget the arena, and its place is free.
  a.close(here, 1);
  b.close(there, 1);
  await settle();
  assertEquals([a.of(EventType.ARENA_RETIRE).length, net.memories[0]!.disposed, a.vm.window.free], [1, 1, free]);
  assertEquals([a.maps.size, b.maps.size], [1, 1]);
});

Deno.test("an honest driver's arena is retired as soon as its circuits are closed", async () => {
  using p = pair();
  const [here, there] = await p.connect(80);
  const free = p.a.vm.window.free;
  p.forbidden.add(80);
  p.net.operator.revise();
  p.a.close(here);
  p.b.close(there);
  await settle();
  assertEquals([p.a.maps.size, p.b.maps.size, p.net.memories[0]!.disposed], [0, 0, 1]);
  assertEquals(p.a.vm.window.free, free + (2 << 20));
  await p.net.clock.pass(20);
});

Deno.test("an arena with a circuit that is still allowed stays, until that is closed", async () => {
  using p = pair();
  await p.connect(80);
  const [cut, cutThere] = await p.connect(80);
  const [kept, keptThere] = await p.connect(81);
  p.forbidden.add(80);
  p.net.operator.revise();
  p.a.close(cut);
  p.b.close(cutThere);
  await p.net.clock.pass(20);
  assertEquals([p.a.maps.size, p.b.maps.size], [1, 1]);
  p.a.close(kept);
  p.b.close(keptThere);
  await p.net.clock.pass(20);
  assertEquals([p.a.maps.size, p.b.maps.size, p.net.operator.circuits.size], [0, 0, 1]);
});

Deno.test("a VM that goes down does not keep its peer's arena", async () => {
  using p = pair();
  await p.connect(80);
  p.a.destroy();
  p.forbidden.add(80);
  assertEquals(p.net.operator.revise(), { checked: 1, cut: 1 });
  await p.net.clock.pass(20);
  assertEquals([p.b.maps.size, p.net.memories[0]!.disposed], [0, 0]);
  p.b.reset();
  await settle();
  assertEquals(p.net.memories[0]!.disposed, 1);
});

Deno.test("a front-end that refuses to unmap leaves a line in the log, and nothing else stops", async () => {
  using p = pair();
  const [here, there] = await p.connect(80);
  p.b.unmap = () => Promise.reject(new Error("because of the test"));
  p.forbidden.add(80);
  p.net.operator.revise();
  await p.net.clock.pass(20);
  assertEquals([p.a.maps.size, p.b.maps.size], [0, 1]);
  p.a.close(here);
  p.b.close(there);
  await settle();
  assertEquals(p.net.memories[0]!.disposed, 1);
});

Deno.test("a VM that is at fault loses its arenas", async () => {
  using p = pair();
  await p.connect(80);
  p.net.operator.queueFault(p.a.vm, 2, "because of the test");
  assertEquals([p.a.maps.size, p.b.maps.size], [0, 1]);
});

Deno.test("a VM that is at fault while an arena is being mapped loses it as well", async () => {
  using p = pair();
  const { promise, resolve } = Promise.withResolvers<void>();
  const map = p.a.map.bind(p.a);
  p.a.map = (...args) => {
    const done = map(...args);
    return promise.then(() => done);
  };
  p.a.connect(B, 80);
  await settle();
  assertEquals(p.a.maps.size, 1);
  p.net.operator.queueFault(p.a.vm, 2, "because of the test");
  resolve();
  await settle();
  assertEquals([p.a.maps.size, p.b.maps.size], [0, 0]);
});

Deno.test("a driver that cannot use its mapping loses it", async () => {
  using p = pair();
  p.a.answersArenas = false;
  p.a.connect(B, 80);
  p.a.arena(RequestType.ARENA_PREPARED, 1);
  await settle();
  p.a.arena(RequestType.ARENA_VISIBLE, 1, 5);
  await settle();
  assertEquals([p.a.maps.size, p.b.maps.size], [0, 0]);
});

Deno.test("a new driver without a reset finds an empty window", async () => {
  using p = pair();
  await p.connect(80);
  p.a.hello();
  assertEquals(p.a.maps.size, 0);
});

Deno.test("BYE is answered when the window is empty, or has taken too long to be emptied", async () => {
  using p = pair();
  await p.connect(80);
  const { promise, resolve } = Promise.withResolvers<void>();
  const unmap = p.a.unmap.bind(p.a);
  p.a.unmap = async (...args) => (await promise, await unmap(...args));
  const ticket = p.a.post(RequestType.BYE, [], 16);
  await settle();
  assertEquals([p.a.errno(ticket), p.a.vm.state], [undefined, "leaving"]);
  resolve();
  await settle();
  assertEquals([p.a.errno(ticket), p.a.maps.size], [0, 0]);

  using q = pair({ byeMs: 1000 });
  await q.connect(80);
  q.a.unmap = () => new Promise(() => {});
  const late = q.a.post(RequestType.BYE, [], 16);
  await q.net.clock.pass(999);
  assertEquals(q.a.errno(late), undefined);
  await q.net.clock.pass(1);
  assertEquals([q.a.errno(late), q.a.maps.size], [0, 1]);
  q.a.reset();
});

Deno.test("BYE waits for what is being unmapped already", async () => {
  for (const idle of [true, false]) {
    using p = pair({ arenaIdleMs: 30_000 });
    const { net, a, b } = p;
    const { arenas } = net.operator;
    await arenas.open(a.vm, b.vm);
    const { arena, slot } = arenas.takeSlot(a.vm, b.vm)!;
    b.pause(false);
    if (idle) {
      arenas.giveSlot(arena, slot);
      await net.clock.pass(30_000);
    } else assertEquals(b.hello(), 0, "a driver that had given its switch up");
    const ticket = b.post(RequestType.BYE, [], 16);
    await settle();
    assertEquals(b.errno(ticket), undefined);
    b.resume();
    await settle();
    assertEquals(b.errno(ticket), 0);
  }
});

Deno.test("an arena that was revoked, and closed while it is being unmapped, is given back", async () => {
  using p = pair();
  const { free } = p.b.vm.window;
  const [here, there] = await p.connect(80);
  p.forbidden.add(80);
  p.net.operator.revise();
  p.b.pause(false);
  await p.net.clock.pass(limits.revokeMs);
  p.a.close(here);
  p.b.close(there);
  await settle();
  p.b.resume();
  await settle();
  assertEquals([[...p.net.operator.arenas.all].length, p.b.holds.arenas.size, p.b.vm.window.free], [0, 0, free]);
  assertEquals([p.b.maps.size, p.net.memories[0]!.disposed], [0, 1]);
});
