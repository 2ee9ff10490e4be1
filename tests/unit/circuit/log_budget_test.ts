import { assertEquals } from "@std/assert";
import { LogBudget, type LogRate } from "../../../src/circuit/log_budget.ts";
import { FakeClock } from "../../support/fake_clock.ts";

function budget(rate: Partial<LogRate> = {}): { budget: LogBudget; leftOut: string[]; clock: FakeClock } {
  const leftOut: string[] = [];
  const clock = new FakeClock();
  const all = { burst: 2, perSecond: 1, summaryMs: 5_000, ...rate };
  return { budget: new LogBudget(all, clock, (who, count) => void leftOut.push(`${who} ${count}`)), leftOut, clock };
}

/** How many of so many are told. */
function told(budget: LogBudget, who: string, count: number): number {
  return Array.from({ length: count }, () => budget.take(who)).filter(Boolean).length;
}

Deno.test("LogBudget.take() lets a burst through, then so many per second, of each who causes lines", async () => {
  const { budget: made, leftOut, clock } = budget();
  assertEquals([told(made, "a", 10), told(made, "b", 10)], [2, 2]);
  await clock.pass(500);
  assertEquals(told(made, "a", 1), 0);
  await clock.pass(500);
  assertEquals([told(made, "a", 5), leftOut], [1, ["a 9"]]);
  await clock.pass(60_000);
  leftOut.length = 0;
  assertEquals([told(made, "a", 10), leftOut], [2, []], "no more than the burst is saved");
});

Deno.test("LogBudget tells what was left out before the next that is told, after a while without one, and at its end", async () => {
  const { budget: made, leftOut, clock } = budget();
  told(made, "a", 2);
  assertEquals(clock.pending, 0, "nothing is left out");
  told(made, "a", 3);
  told(made, "b", 5);
  await clock.pass(1_000);
  assertEquals([made.take("a"), leftOut], [true, ["a 3"]]);
  await clock.pass(4_000);
  assertEquals([leftOut, clock.pending], [["a 3", "b 3"], 0]);
  told(made, "b", 7);
  made[Symbol.dispose]();
  assertEquals([leftOut.slice(2), clock.pending], [["b 5"], 0]);
});

Deno.test("LogBudget forgets those who have caused nothing for a while, and nobody else", async () => {
  const { budget: made, leftOut, clock } = budget({ burst: 1, summaryMs: 3_600_000 });
  for (let i = 0; i < 1_000; i++) made.take(`${i}`);
  told(made, "busy", 3);
  await clock.pass(900);
  for (let i = 0; i < 100; i++) made.take(`late ${i}`);
  await clock.pass(100);
  for (let i = 0; i < 2_000; i++) made.take(`other ${i}`);
  assertEquals([made.take("late 99"), leftOut], [false, []]);
  made[Symbol.dispose]();
  assertEquals(leftOut, ["busy 2", "late 99 1"]);
});
