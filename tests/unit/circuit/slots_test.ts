import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type SlotMemory, Slots } from "../../../src/circuit/slots.ts";
import { settle } from "../../support/fake_clock.ts";
import { asyncProperty } from "../../support/property.ts";

/** Memory of slots: what is written there, and what was done to it. */
class FakeSlots implements SlotMemory {
  /** Slots with memory; true: there are somebody's bytes in it. */
  readonly memory = new Map<number, boolean>();
  readonly punches: [number, number][] = [];
  /** Slots with more memory than is zeroed in place. */
  readonly large = new Set<number>();
  /** What is to be done, in its order: it is done when {@linkcode FakeSlots.settle} says. */
  readonly #jobs: (() => void)[] = [];
  readonly errors: unknown[] = [];

  wipe(slot: number): Promise<boolean> {
    return this.#later(() => {
      if (this.large.delete(slot)) this.#punch(slot, 1);
      else if (this.memory.has(slot)) this.memory.set(slot, false);
      return this.memory.has(slot);
    });
  }

  punch(first: number, count: number): Promise<void> {
    return this.#later(() => this.#punch(first, count));
  }

  failed(error: unknown): void {
    this.errors.push(error);
  }

  #later<T>(act: () => T): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#jobs.push(() => {
      try {
        resolve(act());
      } catch (error) {
        reject(error);
      }
    });
    return promise;
  }

  #punch(first: number, count: number): void {
    if (first === this.broken) throw new Error("broken");
    this.punches.push([first, count]);
    for (let slot = first; slot < first + count; slot++) this.memory.delete(slot);
  }

  /** A slot that cannot be punched. */
  broken = -1;

  /** All of it is done, or the first ones. */
  async settle(count = this.#jobs.length): Promise<void> {
    for (const job of this.#jobs.splice(0, count)) job();
    await settle();
  }

  /** A circuit has it, and writes. */
  use(slot: number): void {
    assertEquals(this.memory.get(slot) ?? false, false, `slot ${slot} has another's bytes`);
    this.memory.set(slot, true);
  }
}

function used(count: number, warm: number, take: number): { slots: Slots; memory: FakeSlots } {
  const memory = new FakeSlots();
  const slots = new Slots(count, warm, memory);
  for (let i = 0; i < take; i++) memory.use(slots.take()!);
  return { slots, memory };
}

Deno.test("take() gives the slot that was given back last, with its memory, zeroed", async () => {
  const { slots, memory } = used(10, 10, 3);
  slots.give(1);
  slots.give(0);
  await memory.settle();
  assertEquals([slots.take(), memory.memory.get(0), memory.punches], [0, false, []]);
  assertEquals([slots.take(), slots.take()], [1, 3]);
});

Deno.test("a slot is nobody's until it is zeroed", async () => {
  const { slots, memory } = used(2, 1, 2);
  for (const slot of [0, 1]) slots.give(slot);
  // The second one waits to be punched, since the first one is to stay warm.
  assertEquals([slots.take(), slots.trimmable], [undefined, true]);
  const { cleaning } = slots;
  assert(cleaning);
  assertEquals([memory.memory.get(0), slots.take()], [true, undefined]);
  await memory.settle(1);
  await cleaning;
  assertEquals([slots.take(), memory.memory.get(0), slots.take()], [0, false, undefined]);
  assert(slots.cleaning);
  await memory.settle();
  assertEquals([slots.cleaning, slots.take(), slots.take(), memory.punches], [undefined, 1, undefined, [[1, 1]]]);
});

Deno.test("a slot that cannot be zeroed is lost, and told", async () => {
  const { slots, memory } = used(3, 1, 3);
  memory.broken = 0;
  memory.large.add(0);
  for (const slot of [0, 1, 2]) slots.give(slot);
  slots.trim();
  const { cleaning } = slots;
  await memory.settle();
  await cleaning;
  assertEquals(memory.errors.map((error) => (error as Error).message), ["broken"]);
  assertEquals([slots.take(), slots.take(), slots.take(), slots.cleaning], [2, 1, undefined, undefined]);
});

Deno.test("give() lets what is too much wait, and punches adjacent slots in one call", async () => {
  const { slots, memory } = used(200, 2, 200);
  for (const slot of [100, 101, 7, 5, 6, 4, 20]) slots.give(slot);
  await memory.settle();
  assertEquals(memory.punches, []);
  // The warm ones come first, and those that wait only when they are punched.
  assertEquals([slots.take(), slots.take(), slots.take()], [101, 100, undefined]);
  await memory.settle();
  assertEquals(memory.punches, [[4, 4], [20, 1]]);
  assert([4, 5, 6, 7, 20].includes(slots.take()!));
});

Deno.test("give() lets at most 64 slots wait", async () => {
  const { slots, memory } = used(200, 0, 200);
  for (let slot = 0; slot < 63; slot++) slots.give(slot);
  await memory.settle();
  assertEquals(memory.punches, []);
  slots.give(63);
  await memory.settle();
  assertEquals(memory.punches, [[0, 64]]);
});

Deno.test("trim() gives back what was not needed since the last time, and all after two calls", async () => {
  const { slots, memory } = used(10, 4, 8);
  for (const slot of [0, 1, 2, 3, 4, 5]) slots.give(slot);
  await memory.settle();
  slots.trim();
  await memory.settle();
  assertEquals([memory.punches, slots.trimmable], [[[4, 2]], true], "those over the limit; the others may be needed");
  memory.use(slots.take()!);
  slots.give(3);
  await memory.settle();
  slots.trim();
  await memory.settle();
  assertEquals([memory.punches.slice(1), slots.trimmable], [[[0, 3]], true], "one was needed at a time");
  slots.trim();
  await memory.settle();
  assertEquals([memory.punches.slice(2), slots.trimmable], [[[3, 1]], false]);
  assertEquals([...memory.memory.keys()], [6, 7]);
});

Deno.test("take() never gives a slot twice, nor one with another's bytes; all of them come back", async () => {
  const operations = fc.array(fc.nat(), { maxLength: 400 });
  await asyncProperty(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 100 }),
      fc.integer({ min: 0, max: 5 }),
      operations,
      async (count, warm, ns) => {
        const { slots, memory } = used(count, warm, 0);
        const out: number[] = [];
        const take = (): boolean => {
          const slot = slots.take();
          if (slot === undefined) return false;
          assert(!out.includes(slot) && slot < count);
          memory.use(slot);
          out.push(slot);
          return true;
        };
        for (const n of ns) {
          if (n % 8 === 7) slots.trim();
          else if (n % 16 === 5) await memory.settle(n % 5);
          else if (n % 2 === 0 || out.length === 0) {
            const full = out.length === count;
            // Others are being zeroed, or there is one.
            const taken = take();
            if (full) assert(!taken);
            else assert(taken || slots.cleaning);
          } else {
            const [slot] = out.splice(n % out.length, 1) as [number];
            if (n % 3 === 0) memory.large.add(slot);
            slots.give(slot);
          }
        }
        await memory.settle();
        assert(memory.memory.size <= out.length + warm + 64, "memory is bounded");
        for (const slot of out.splice(0)) slots.give(slot);
        for (let i = 0; i < 3; i++) {
          slots.trim();
          await memory.settle();
        }
        assertEquals([slots.trimmable, slots.cleaning, memory.memory.size, memory.errors], [false, undefined, 0, []]);
        while (take());
        assertEquals(out.length, count);
      },
    ),
  );
});
