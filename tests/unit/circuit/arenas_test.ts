import { assert, assertEquals, assertRejects } from "@std/assert";
import { slotBytes } from "../../../src/circuit/arena.ts";
import { ArenaError } from "../../../src/circuit/arena_end.ts";
import { EventType, Layout, RequestType } from "../../../src/circuit/records.ts";
import { Errno } from "../../../src/errno.ts";
import { FakeNet, type FakeVm, settle } from "../../support/fake_plane.ts";

const RING = 16384;
const limits = {
  ringBytes: RING,
  arenaBytes: 2 << 20,
  arenaMaxBytes: 4 << 20,
  windowBytes: 2 ** 24,
  arenaIdleMs: 30_000,
};

function pair(change = {}): { net: FakeNet; a: FakeVm; b: FakeVm } {
  const net = new FakeNet({ limits: { ...limits, ...change } });
  return { net, a: net.boot(), b: net.boot() };
}

const types = (vm: FakeVm): number[] => vm.events.map(({ type }) => type);

Deno.test("open() asks, maps, tells, and then there are slots", async () => {
  const { net, a, b } = pair();
  using _ = net;
  const { arenas } = net.operator;
  assertEquals(arenas.takeSlot(a.vm, b.vm), undefined);
  await arenas.open(a.vm, b.vm);
  assertEquals([types(a), types(b)], Array(2).fill([EventType.ARENA_PREPARE, EventType.ARENA_MAPPED]));
  const [arena] = arenas.all;
  const { view } = a.events[1]!;
  const at = Layout.arena_event;
  assertEquals([view.getBigUint64(at.nonce, true), view.getBigUint64(at.length, true)], [arena!.nonce, 2n << 20n]);
  assertEquals([...a.maps], [[Number(view.getBigUint64(at.offset, true)), 2 << 20]]);
  assert(arenas.has(net.memories[0]!.identity) && !arenas.has("0:0"));
  assertEquals(arenas.takeSlot(b.vm, a.vm)?.arena, arena, "either way round");
});

Deno.test("open() is shared by those who ask meanwhile, and each further arena is twice as large, up to a limit", async () => {
  const { net, a, b } = pair();
  using _ = net;
  const { arenas } = net.operator;
  assert(arenas.open(a.vm, b.vm) === arenas.open(b.vm, a.vm));
  for (let i = 0; i < 3; i++) await arenas.open(a.vm, b.vm);
  assertEquals(net.memories.map(({ length }) => length >> 20), [2, 4, 4]);
});

Deno.test("an arena is as large as its pair's first one again, once that was given up", async () => {
  const { net, a, b } = pair();
  using _ = net;
  const { arenas } = net.operator;
  const free = a.vm.window.free;
  for (let round = 0; round < 5; round++) {
    await arenas.open(a.vm, b.vm);
    const { arena, slot } = arenas.takeSlot(a.vm, b.vm)!;
    assertEquals([arena.memory.length, arenas.takeSlot(a.vm, b.vm)?.arena], [limits.arenaBytes, arena]);
    arenas.giveSlot(arena, slot);
    arenas.giveSlot(arena, 1);
    await net.clock.pass(limits.arenaIdleMs);
    assertEquals([a.vm.window.free, a.maps.size, net.memories.at(-1)!.disposed], [free, 0, 1]);
  }
});

Deno.test("an arena is smaller where the window has no room for a larger one", async () => {
  const { net, a, b } = pair({ arenaBytes: 8 << 20, arenaMaxBytes: 16 << 20 });
  using _ = net;
  const { arenas } = net.operator;
  for (let i = 0; i < 2; i++) await arenas.open(a.vm, b.vm);
  assertEquals(net.memories.map(({ length }) => length >> 20), [8, 8]);
  await assertRejects(() => arenas.open(a.vm, b.vm), ArenaError, "the window of vm1 is full");
  assertEquals([a.vm.window.free, b.vm.window.free], [0, 0]);
});

Deno.test("open() fails by name: refused, or not answered; and leaves nothing", async () => {
  const { net, a, b } = pair({ arenaAnswerMs: 5 });
  using _ = net;
  const { arenas } = net.operator;
  const free = a.vm.window.free;
  const empty = (): void => {
    assertEquals([[...arenas.all].length, a.maps.size, net.memories.at(-1)!.disposed], [0, 0, 1]);
    assertEquals([a.vm.window.free, b.vm.window.free, a.holds.arenas.size, b.holds.arenas.size], [free, free, 0, 0]);
  };
  b.mapError = new Error("refused by the test");
  await assertRejects(() => arenas.open(a.vm, b.vm), ArenaError, "refused by the test");
  await settle();
  empty();
  b.mapError = undefined;
  b.answersArenas = false;
  const opening = assertRejects(
    () => arenas.open(a.vm, b.vm),
    ArenaError,
    "vm2 did not answer ARENA_PREPARE within 5 ms",
  );
  await net.clock.pass(5);
  await opening;
  await settle();
  empty();
  b.answersArenas = true;
  await arenas.open(a.vm, b.vm);
  assertEquals([...arenas.all].length, 1);
});

Deno.test("BYE in one batch with any answer: nothing is mapped for a VM that has said goodbye", async () => {
  const steps = [
    [],
    [RequestType.ARENA_PREPARED],
    [RequestType.ARENA_PREPARED, RequestType.ARENA_VISIBLE],
  ];
  for (const answers of steps) {
    for (const leave of ["bye", "reset", "destroy", "hello", "fault"] as const) {
      const { net, a, b } = pair();
      using _ = net;
      b.answersArenas = false;
      const opening = assertRejects(() => net.operator.arenas.open(a.vm, b.vm), ArenaError, "vm2 went down");
      await settle();
      const id = b.events.at(-1)!.view.getUint32(16, true);
      for (const [i, answer] of answers.entries()) {
        // The last answer and the end in one batch.
        b.arena(answer, id);
        if (i < answers.length - 1) await settle();
      }
      if (leave === "fault") net.operator.queueFault(b.vm, 0, "because of the test");
      else b[leave]();
      await opening;
      await settle();
      assertEquals([a.maps.size, b.maps.size, net.memories[0]!.disposed], [0, 0, 1], `${leave} ${answers}`);
      assertEquals([a.holds.arenas.size, b.holds.arenas.size], [0, 0]);
    }
  }
});

Deno.test("a mapping that comes late is undone, and its place is free again; meanwhile nothing new is asked for", async () => {
  const { net, a, b } = pair({ arenaAnswerMs: 5 });
  using _ = net;
  const { arenas } = net.operator;
  const free = b.vm.window.free;
  b.pause(false);
  const opening = assertRejects(() => arenas.open(a.vm, b.vm), ArenaError, "vm2 did not answer SHMEM_MAP within 5 ms");
  await net.clock.pass(5);
  await opening;
  assertEquals([a.maps.size, a.vm.window.free, b.vm.window.free], [0, free, free - (2 << 20)]);
  assert(arenas.has(net.memories[0]!.identity), "it may still come back in a memory table");
  b.overdue = true;
  await assertRejects(() => arenas.open(b.vm, a.vm), ArenaError, "the front-end of vm2 does not answer");
  assertEquals(net.memories.length, 1);
  b.resume();
  b.overdue = false;
  await settle();
  assertEquals([b.maps.size, b.vm.window.free, b.holds.arenas.size, net.memories[0]!.disposed], [0, free, 0, 1]);
  await arenas.open(a.vm, b.vm);
  assertEquals([a.maps.size, b.maps.size], [1, 1]);
});

Deno.test("a mapping that comes late, after its VM went down or came up anew, is let alone or unmapped before anything else", async () => {
  for (const leave of ["bye", "hello", "destroy"] as const) {
    const { net, a, b } = pair({ arenaAnswerMs: 5 });
    using _ = net;
    const { arenas } = net.operator;
    b.pause(false);
    const opening = assertRejects(() => arenas.open(a.vm, b.vm), ArenaError);
    await net.clock.pass(5);
    await opening;
    b[leave]();
    await settle();
    if (leave !== "destroy") b.resume();
    await settle();
    assertEquals([a.maps.size, b.maps.size, b.holds.arenas.size, net.memories[0]!.disposed], [0, 0, 0, 1], leave);
  }
});

Deno.test("a window that is being emptied is let alone once its device stops, or has another driver", async () => {
  for (const anew of [false, true]) {
    const { net, a, b } = pair();
    using _ = net;
    for (let i = 0; i < 3; i++) await net.operator.arenas.open(a.vm, b.vm);
    b.pause(false);
    const bye = b.post(RequestType.BYE, [], 16);
    await settle();
    assertEquals([b.vm.state, b.hello(), b.errno(bye)], ["leaving", Errno.EPROTO, undefined]);
    // It did not wait: QEMU handles what it has been sent, then the reset.
    b.resume();
    b.reset();
    if (anew) {
      b.start();
      assertEquals(b.hello(), 0);
      await net.operator.arenas.open(a.vm, b.vm);
    }
    await settle();
    assertEquals([b.maps.size, b.vm.state], anew ? [1, "ready"] : [0, "attached"]);
  }
});

Deno.test("open() fails at once when a VM goes down meanwhile, and unmaps the other's end", async () => {
  const { net, a, b } = pair();
  using _ = net;
  const { arenas } = net.operator;
  const free = a.vm.window.free;
  for (const answered of [0, 1, 2]) {
    b.answersArenas = false;
    const opening = arenas.open(a.vm, b.vm);
    await settle();
    const id = b.events.at(-1)!.view.getUint32(16, true);
    if (answered > 0) b.arena(RequestType.ARENA_PREPARED, id);
    if (answered > 0) await settle();
    // With the last answer and BYE in one batch.
    if (answered > 1) b.arena(RequestType.ARENA_VISIBLE, id);
    b.bye();
    await assertRejects(() => opening, ArenaError, "vm2 went down");
    await settle();
    assertEquals([net.memories.at(-1)!.disposed, a.maps.size, a.vm.window.free, [...arenas.all]], [1, 0, free, []]);
    assertEquals(arenas.takeSlot(a.vm, b.vm), undefined);
    b.hello();
  }
});

Deno.test("open() fails when a VM goes down whose end was visible already", async () => {
  const { net, a, b } = pair();
  using _ = net;
  a.answersArenas = false;
  const opening = net.operator.arenas.open(a.vm, b.vm);
  await settle();
  b.bye();
  const free = a.vm.window.free;
  a.arena(RequestType.ARENA_PREPARED, 1);
  await settle();
  a.answersArenas = true;
  a.arena(RequestType.ARENA_VISIBLE, 1);
  await assertRejects(() => opening, ArenaError, "vm2 went down");
  await settle();
  assertEquals([net.memories[0]!.disposed, a.maps.size, a.vm.window.free - free], [1, 0, 2 << 20]);
});

Deno.test("open() fails when a driver cannot use its mapping", async () => {
  const { net, a, b } = pair();
  using _ = net;
  b.answersArenas = false;
  const opening = net.operator.arenas.open(a.vm, b.vm);
  b.arena(RequestType.ARENA_PREPARED, 1);
  await settle();
  assertEquals(b.arena(RequestType.ARENA_PREPARED, 1), Errno.ENOENT, "answered already");
  assertEquals(b.arena(RequestType.ARENA_VISIBLE, 1, Errno.EIO), 0);
  await assertRejects(() => opening, ArenaError, "vm2 could not use its mapping: EIO");
});

Deno.test("open() fails when the window is full, and gives back what it took in the other's", async () => {
  const { net, a, b } = pair({ windowBytes: 6 << 20 });
  using _ = net;
  const { arenas } = net.operator;
  await arenas.open(a.vm, b.vm);
  await arenas.open(a.vm, b.vm);
  const c = net.boot();
  const free = c.vm.window.free;
  await assertRejects(() => arenas.open(c.vm, a.vm), ArenaError, "the window of vm1 is full");
  assertEquals(c.vm.window.free, free);
});

Deno.test("open() fails with the memory's own error, and gives back what it took", async () => {
  const net = new FakeNet({
    limits,
    memory: () => {
      throw new Error("no memory, says the test");
    },
  });
  using _ = net;
  const [a, b] = [net.boot(), net.boot()];
  const free = a.vm.window.free;
  await assertRejects(() => net.operator.arenas.open(a.vm, b.vm), Error, "no memory, says the test");
  assertEquals([a.vm.window.free, b.vm.window.free, a.events], [free, free, []]);
});

Deno.test("an arena that is empty for a while is retired, and its place in the window is free again", async () => {
  const { net, a, b } = pair();
  using _ = net;
  const { arenas } = net.operator;
  const free = a.vm.window.free;
  await arenas.open(a.vm, b.vm);
  const place = arenas.takeSlot(a.vm, b.vm)!;
  arenas.giveSlot(place.arena, place.slot);
  await net.clock.pass(limits.arenaIdleMs);
  assertEquals([types(a).at(-1), types(b).at(-1)], [EventType.ARENA_RETIRE, EventType.ARENA_RETIRE]);
  assertEquals([a.maps.size, b.maps.size, a.vm.window.free, a.holds.arenas.size], [0, 0, free, 0]);
  assertEquals(arenas.takeSlot(a.vm, b.vm), undefined);
});

Deno.test("an arena that is used again in time stays", async () => {
  const { net, a, b } = pair();
  using _ = net;
  const { arenas } = net.operator;
  await arenas.open(a.vm, b.vm);
  const place = arenas.takeSlot(a.vm, b.vm)!;
  arenas.giveSlot(place.arena, place.slot);
  const again = arenas.takeSlot(a.vm, b.vm)!;
  await net.clock.pass(2 * limits.arenaIdleMs);
  assertEquals([again.arena, net.memories[0]!.disposed, arenas.has(net.memories[0]!.identity)], [place.arena, 0, true]);
});

Deno.test("a driver that does not answer ARENA_RETIRE loses the arena, and its place in the window stays taken until it does", async () => {
  const { net, a, b } = pair({ arenaAnswerMs: 5 });
  using _ = net;
  const { arenas } = net.operator;
  const free = b.vm.window.free;
  await arenas.open(a.vm, b.vm);
  const place = arenas.takeSlot(a.vm, b.vm)!;
  b.answersArenas = false;
  arenas.giveSlot(place.arena, place.slot);
  await net.clock.pass(limits.arenaIdleMs);
  await net.clock.pass(5);
  assertEquals([a.vm.window.free, b.vm.window.free, a.maps.size, b.maps.size], [free, free - (2 << 20), 0, 0]);
  assertEquals([net.memories[0]!.disposed, b.arena(RequestType.ARENA_RETIRED, 1)], [1, 0], "it may say so late");
  assertEquals([b.vm.window.free, b.holds.arenas.size, b.arena(RequestType.ARENA_RETIRED, 1)], [free, 0, Errno.ENOENT]);
});

Deno.test("an arena is full after as many slots as fit", async () => {
  const { net, a, b } = pair();
  using _ = net;
  const { arenas } = net.operator;
  await arenas.open(a.vm, b.vm);
  let slots = 0;
  while (arenas.takeSlot(a.vm, b.vm)) slots++;
  assertEquals(slots, Math.floor(((2 << 20) - 4096) / slotBytes(RING)));
});

Deno.test("a pair's arena is nobody else's", async () => {
  const { net, a, b } = pair();
  using _ = net;
  const c = net.boot();
  await net.operator.arenas.open(a.vm, b.vm);
  assertEquals(net.operator.arenas.takeSlot(a.vm, c.vm), undefined);
  assertEquals([c.events, c.maps.size], [[], 0]);
});

Deno.test("open() of a VM with itself maps the arena once, and retires it once", async () => {
  const { net, a } = pair();
  using _ = net;
  const { arenas } = net.operator;
  const free = a.vm.window.free;
  await arenas.open(a.vm, a.vm);
  assertEquals([types(a), a.maps.size], [[EventType.ARENA_PREPARE, EventType.ARENA_MAPPED], 1]);
  const place = arenas.takeSlot(a.vm, a.vm)!;
  assertEquals(arenas.takeSlot(a.vm, a.vm)?.arena, place.arena);
  for (const slot of [0, 1]) arenas.giveSlot(place.arena, slot);
  await net.clock.pass(limits.arenaIdleMs);
  assertEquals([types(a).at(-1), a.maps.size, a.vm.window.free], [EventType.ARENA_RETIRE, 0, free]);
});

Deno.test("a VM that goes down takes the arena that it has with itself along", async () => {
  const { net, a } = pair();
  using _ = net;
  await net.operator.arenas.open(a.vm, a.vm);
  a.bye();
  await settle();
  assertEquals([net.memories[0]!.disposed, [...net.operator.arenas.all]], [1, []]);
  a.hello();
  assertEquals(net.operator.arenas.takeSlot(a.vm, a.vm), undefined);
});
