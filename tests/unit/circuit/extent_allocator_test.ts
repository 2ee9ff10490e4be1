import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ExtentAllocator } from "../../../src/circuit/extent_allocator.ts";
import { property } from "../../support/property.ts";

Deno.test("take() gives aligned extents, first fit, and undefined when none is large enough", () => {
  const allocator = new ExtentAllocator(100, 10);
  assertEquals([allocator.take(25), allocator.take(10), allocator.take(61), allocator.take(60)], [
    0,
    30,
    undefined,
    40,
  ]);
  assertEquals([allocator.take(1), allocator.free], [undefined, 0]);
  allocator.give(30, 10);
  allocator.give(0, 25);
  assertEquals([allocator.free, allocator.take(40)], [40, 0]);
});

Deno.test("ExtentAllocator() leaves a rest that is no whole alignment alone", () => {
  const allocator = new ExtentAllocator(25, 10);
  assertEquals([allocator.free, allocator.take(21), allocator.take(20), allocator.free], [20, undefined, 0, 0]);
});

Deno.test("take() and give() agree with a slow oracle, a byte array", () => {
  const LENGTH = 64, ALIGNMENT = 4;
  const operation = fc.record({ take: fc.boolean(), length: fc.integer({ min: 1, max: 30 }), which: fc.nat() });
  property(fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
    const allocator = new ExtentAllocator(LENGTH, ALIGNMENT);
    const used = new Array<boolean>(LENGTH / ALIGNMENT).fill(false);
    const out: { offset: number; length: number }[] = [];
    for (const { take, length, which } of operations) {
      const cells = Math.ceil(length / ALIGNMENT);
      if (take) {
        const first = used.findIndex((_, i) => {
          return i + cells <= used.length && used.slice(i, i + cells).every((cell) => !cell);
        });
        const offset = allocator.take(length);
        assertEquals(offset, first < 0 ? undefined : first * ALIGNMENT);
        if (offset === undefined) continue;
        used.fill(true, first, first + cells);
        out.push({ offset, length });
      } else if (out.length > 0) {
        const [{ offset, length }] = out.splice(which % out.length, 1) as [{ offset: number; length: number }];
        allocator.give(offset, length);
        used.fill(false, offset / ALIGNMENT, offset / ALIGNMENT + Math.ceil(length / ALIGNMENT));
      }
      assertEquals(allocator.free, used.filter((cell) => !cell).length * ALIGNMENT);
    }
    for (const { offset, length } of out) allocator.give(offset, length);
    assert(allocator.take(LENGTH) === 0, "all joined again");
  }));
});
