import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { Arena, slotBytes } from "../../../src/circuit/arena.ts";
import type { ArenaEnd, ArenaEndState } from "../../../src/circuit/arena_end.ts";
import { DEFAULT_LIMITS } from "../../../src/circuit/limits.ts";
import { ARENA_MAGIC } from "../../../src/circuit/records.ts";
import type { Vm } from "../../../src/circuit/vm.ts";
import { FakeMemory } from "../../support/fake_plane.ts";

const RING = 16384;

interface FakeEnd {
  readonly vm: Vm;
  readonly id: number;
  state: ArenaEndState;
}

function make(length: number): { arena: Arena; memory: FakeMemory; ends: FakeEnd[] } {
  const ends = [1, 2].map((id): FakeEnd => ({ vm: {} as Vm, id, state: "visible" }));
  const memory = new FakeMemory(length);
  const arena = new Arena(1, memory, RING, ends as unknown as ArenaEnd[], DEFAULT_LIMITS);
  return { arena, memory, ends };
}

Deno.test("Arena() stamps magic, nonce, length and ring size", () => {
  const { arena, memory } = make(1 << 20);
  const view = new DataView(memory.stamped.buffer);
  assertEquals(
    [0, 8, 16].map((at) => view.getBigUint64(at, true)),
    [ARENA_MAGIC, arena.nonce, 1n << 20n],
  );
  assertEquals(view.getUint32(24, true), RING);
  assertNotEquals(arena.nonce, make(1 << 20).arena.nonce);
});

Deno.test("takeSlot() gives every slot once; giveSlot() zeroes exactly its bytes", async () => {
  const { arena, memory } = make(4096 + 5 * slotBytes(RING) + 100);
  const slots = Array.from({ length: 6 }, () => arena.takeSlot());
  assertEquals(slots, [0, 1, 2, 3, 4, undefined]);
  assertEquals([arena.slotCount, arena.circuits], [5, 5]);
  arena.giveSlot(3);
  await arena.cleaning;
  assertEquals(memory.punched, [[4096 + 3 * slotBytes(RING), slotBytes(RING)]]);
  assertEquals([arena.takeSlot(), arena.takeSlot(), arena.circuits], [3, undefined, 5]);
});

Deno.test("extents() mirror each other, lie in their slot, page-aligned, and overlap nobody's", () => {
  const { arena, memory } = make(1 << 20);
  const used: [number, number][] = [[0, 4096]];
  for (let slot = 0; slot < arena.slotCount; slot++) {
    const a = arena.extents(slot, 0, 7);
    const b = arena.extents(slot, 1, 8);
    assertEquals([a.arena, b.arena, a.ringSize, b.ringSize], [7, 8, RING, RING]);
    assertEquals([a.ownControl, a.peerControl, a.txRing, a.rxRing], [b.peerControl, b.ownControl, b.rxRing, b.txRing]);
    for (
      const [at, length] of [[a.ownControl, 4096], [b.ownControl, 4096], [a.txRing, RING], [b.txRing, RING]] as const
    ) {
      assert(at % 4096 === 0 && at + length <= memory.length);
      assert(used.every(([other, bytes]) => at >= other + bytes || other >= at + length));
      used.push([at, length]);
    }
  }
});

Deno.test("usable needs the arena to be open, and every end to be visible", () => {
  const { arena, ends } = make(1 << 20);
  assertEquals(arena.usable, false);
  arena.become("open");
  assert(arena.usable);
  for (const state of ["preparing", "mapping", "announced", "retiring", "gone", "over"] as const) {
    ends[1]!.state = state;
    assertEquals(arena.usable, false);
  }
  ends[1]!.state = "visible";
  arena.become("revoked");
  assertEquals(arena.usable, false);
  assertThrows(() => arena.become("open"), Error, "an arena cannot go back to open");
  assertEquals<unknown>([arena.endOf(ends[1]!.vm), arena.endOf({} as Vm)], [ends[1], undefined]);
});
