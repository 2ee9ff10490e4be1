import { assertEquals, assertThrows } from "@std/assert";
import { Chunks } from "../../../src/circuit/chunks.ts";
import { FakeClock } from "../../support/fake_clock.ts";

Deno.test("Chunks does so many in a turn, in order, and the rest in turns of their own", async () => {
  const clock = new FakeClock();
  const done: number[] = [];
  const chunks = new Chunks<number>(clock, 3, (n) => void done.push(n));
  chunks.add([1, 2]);
  assertEquals([done, chunks.waiting, clock.pending], [[1, 2], 0, 0]);
  chunks.add([3, 4, 5, 6, 7, 8, 9]);
  chunks.add([10]);
  assertEquals([done.length, chunks.waiting, clock.pending], [5, 5, 1]);
  await clock.pass(0);
  assertEquals([done, clock.pending], [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0]);
  chunks.add([11, 12, 13, 14]);
  chunks.finish();
  assertEquals([done.length, chunks.waiting, clock.pending], [14, 0, 0]);
});

Deno.test("Chunks takes what comes of doing one behind the others", async () => {
  const clock = new FakeClock();
  const done: string[] = [];
  const chunks = new Chunks<string>(clock, 2, (name) => {
    done.push(name);
    if (name.length < 3) chunks.add([`${name}a`, `${name}b`]);
  });
  chunks.add(["x", "y"]);
  assertEquals(done, ["x", "y"]);
  await clock.pass(0);
  assertEquals(done.slice(2), ["xa", "xb", "ya", "yb", "xaa", "xab", "xba", "xbb", "yaa", "yab", "yba", "ybb"]);
});

Deno.test("Chunks: an exception costs what it came from", async () => {
  const clock = new FakeClock();
  const done: number[] = [];
  const chunks = new Chunks<number>(clock, 10, (n) => {
    if (n === 2) throw new Error("because of the test");
    done.push(n);
  });
  assertThrows(() => chunks.add([1, 2, 3]), Error, "because of the test");
  await clock.pass(0);
  assertEquals([done, chunks.waiting, clock.pending], [[1, 3], 0, 0]);
});
