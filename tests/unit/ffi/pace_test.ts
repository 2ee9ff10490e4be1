import { assertEquals } from "@std/assert";
import { Pace } from "../../../src/ffi/pace.ts";
import { FakeClock, settle } from "../../support/fake_clock.ts";

Deno.test("Pace lets a burst pass at once, then one after the other, and a burst again after a while", async () => {
  const clock = new FakeClock();
  using pace = new Pace(clock, { burst: 3, ms: 100 });
  const came: number[] = [];
  const come = (): void => void pace.turn().then(() => came.push(clock.now()));
  for (let i = 0; i < 6; i++) come();
  await settle();
  assertEquals(came, [0, 0, 0]);
  await clock.pass(1000);
  assertEquals(came, [0, 0, 0, 100, 200, 300]);
  for (let i = 0; i < 4; i++) come();
  await clock.pass(1000);
  assertEquals(came.slice(6), [1000, 1000, 1000, 1100]);
});

Deno.test("Pace keeps nobody once it is disposed", async () => {
  const clock = new FakeClock();
  const pace = new Pace(clock, { burst: 1, ms: 100 });
  await pace.turn();
  const waiting = [pace.turn(), pace.turn()];
  pace[Symbol.dispose]();
  await Promise.all([...waiting, pace.turn()]);
  assertEquals(clock.pending, 0);
});
