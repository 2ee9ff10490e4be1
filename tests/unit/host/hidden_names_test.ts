import { assertEquals } from "@std/assert";
import { HiddenNames } from "../../../src/host/hidden_names.ts";
import { CapturedLog } from "../../support/captured_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";

Deno.test("hidden names are told, of each VM so many at a time, and all are counted", async () => {
  await using log = await CapturedLog.begin();
  const { lines } = log;
  const clock = new FakeClock();
  const hidden = new HiddenNames(clock);
  for (let i = 0; i < 25; i++) hidden.tell("web", `n${i}.test`, "A");
  hidden.tell("db", "x.test", "TXT");
  assertEquals(lines.length, 11);
  assertEquals(lines[0], "hidden: web asked for n0.test, A: no rule allows that name");
  await clock.pass(10_000);
  hidden.tell("web", "again.test", "A");
  assertEquals(lines.slice(11), [
    "15 more questions of web for hidden names were left out",
    "hidden: web asked for again.test, A: no rule allows that name",
  ]);
  assertEquals([hidden.count("web"), hidden.count("db"), hidden.count("nobody")], [26, 1, 0]);
  hidden.forget("web");
  assertEquals(hidden.count("web"), 0);
  for (let i = 0; i < 12; i++) hidden.tell("web", "more.test", "A");
  hidden[Symbol.dispose]();
  assertEquals([lines.at(-1), clock.pending], ["3 more questions of web for hidden names were left out", 0]);
});
