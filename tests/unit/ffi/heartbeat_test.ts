import { assert, assertEquals } from "@std/assert";
import { Heartbeat } from "../../../src/ffi/heartbeat.ts";
import { FakeClock } from "../../support/fake_clock.ts";

class Being {
  beats = 0;
  beat(): void {
    this.beats++;
  }
}

/** So many, asked for so long: how often each was. */
async function beats(count: number, ms: number): Promise<number[]> {
  const clock = new FakeClock();
  const beings = new Map(Array.from({ length: count }, (_, i) => [i, new Being()] as const));
  using heartbeat = new Heartbeat(clock, beings);
  heartbeat.begin();
  heartbeat.begin();
  await clock.pass(ms);
  return [...beings.values()].map(({ beats }) => beats);
}

Deno.test("Heartbeat asks each every 5 s, evenly", async () => {
  for (const count of [1, 2, 3, 20, 64, 100, 249, 250]) {
    const asked = await beats(count, 50_500);
    assert(
      asked.every((times) => times >= 9 && times <= 12),
      `${count}: ${Math.min(...asked)} to ${Math.max(...asked)}`,
    );
  }
});

Deno.test("Heartbeat asks 50 a second at most, however many there are: each in its turn", async () => {
  const asked = await beats(1000, 60_000);
  assertEquals(asked.reduce((sum, times) => sum + times, 0), 50 * 60);
  assert(asked.every((times) => times === 3));
});

Deno.test("Heartbeat goes with who comes and goes, and rests when there is nobody", async () => {
  const clock = new FakeClock();
  const beings = new Map<number, Being>();
  using heartbeat = new Heartbeat(clock, beings);
  heartbeat.begin();
  await clock.pass(100_000);
  assertEquals(clock.pending, 0);
  const [one, other] = [new Being(), new Being()];
  beings.set(1, one);
  heartbeat.begin();
  await clock.pass(20_000);
  assert(one.beats >= 3 && one.beats <= 4, `${one.beats}`);
  beings.set(2, other);
  heartbeat.begin();
  await clock.pass(20_000);
  assert(other.beats >= 2 && other.beats <= 4, `${other.beats}`);
  beings.delete(1);
  const before = one.beats;
  await clock.pass(20_000);
  assertEquals(one.beats, before);
  assert(other.beats >= 5);
  heartbeat[Symbol.dispose]();
  assertEquals(clock.pending, 0);
});
