import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { IdAllocator } from "../../../src/circuit/id_allocator.ts";
import { property } from "../../support/property.ts";

const slotOf = (id: number): number => id & 0xfffff;

Deno.test("take() gives ids of distinct slots, until all are out", () => {
  const ids = new IdAllocator(3);
  assertEquals([ids.take(), ids.take(), ids.take(), ids.take()], [0, 1, 2, undefined]);
  assert(ids.isEmpty);
  ids.give(1);
  assert(!ids.isEmpty);
  assertEquals([ids.take(), ids.take()], [1 << 20 | 1, undefined]);
});

Deno.test("give() makes a slot's next id another, 4096 times, always unsigned", () => {
  const ids = new IdAllocator(1);
  const seen = new Set<number>();
  for (let i = 0; i < 4096; i++) {
    const id = ids.take()!;
    assert(id >= 0 && id <= 0xffffffff && !seen.has(id));
    seen.add(id);
    ids.give(id);
  }
  assertEquals(ids.take(), 0);
});

Deno.test("take() agrees with a slow oracle: slots in the order in which they were freed, generations counted", () => {
  property(fc.property(fc.integer({ min: 1, max: 8 }), fc.array(fc.nat(), { maxLength: 100 }), (limit, operations) => {
    const ids = new IdAllocator(limit);
    const out: number[] = [];
    const uses = new Map<number, number>();
    // Those that are freed form batches: a batch is used up, oldest first, before the next one begins.
    let batch: number[] = [];
    let freed: number[] = [];
    for (const n of operations) {
      if (n % 2 === 0) {
        if (batch.length === 0) [batch, freed] = [freed, []];
        const slot = batch.shift() ?? (uses.size < limit ? uses.size : undefined);
        assertEquals(ids.isEmpty, slot === undefined);
        const id = ids.take();
        if (slot === undefined) {
          assertEquals(id, undefined);
          continue;
        }
        if (!uses.has(slot)) uses.set(slot, 0);
        assertEquals(id, uses.get(slot)! * 2 ** 20 + slot);
        out.push(id!);
      } else if (out.length > 0) {
        const [id] = out.splice(n % out.length, 1) as [number];
        ids.give(id);
        uses.set(slotOf(id), (uses.get(slotOf(id))! + 1) % 4096);
        freed.push(slotOf(id));
      }
      assertEquals(new Set(out.map(slotOf)).size, out.length);
    }
  }));
});
