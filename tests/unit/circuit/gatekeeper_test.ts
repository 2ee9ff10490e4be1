import { assertEquals } from "@std/assert";
import { denialErrno } from "../../../src/circuit/admission.ts";
import { Gatekeeper } from "../../../src/circuit/gatekeeper.ts";
import { DEFAULT_LIMITS } from "../../../src/circuit/limits.ts";
import type { Attempt, Verdict, VerdictFunction } from "../../../src/circuit/verdict.ts";
import { Errno } from "../../../src/errno.ts";
import { parseAddress } from "../../../src/net/address.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeRecorder } from "../../support/fake_recorder.ts";

const attempt = (from = "a", to = "b"): Attempt => ({
  protocol: "tcp",
  from,
  source: { address: parseAddress("10.77.0.2"), port: 40_000 },
  to,
  destination: { address: parseAddress("10.77.0.3"), port: 80 },
});

function gate(verdict: VerdictFunction, limits = {}): { gate: Gatekeeper; lines: string[]; clock: FakeClock } {
  const recorder = new FakeRecorder();
  const clock = new FakeClock();
  const made = new Gatekeeper(verdict, { ...DEFAULT_LIMITS, ...limits }, recorder, clock);
  return { gate: made, lines: recorder.lines, clock };
}

const deny: VerdictFunction = () => ({ allow: false, reason: "test" });

Deno.test("denialErrno() is what a guest is told, 0 for silence", () => {
  const of = (onDeny?: Verdict["onDeny"]): number =>
    denialErrno({ allow: false, reason: "", ...(onDeny && { onDeny }) });
  assertEquals([of(), of("refuse"), of("unreachable"), of("prohibit"), of("drop")], [
    Errno.ECONNREFUSED,
    Errno.ECONNREFUSED,
    Errno.EHOSTUNREACH,
    Errno.EACCES,
    0,
  ]);
  assertEquals(denialErrno({ allow: false, reason: "", onDeny: "nonsense" as "drop" }), Errno.ECONNREFUSED);
});

Deno.test("ask() takes an exception, and what is no verdict, for a denial", () => {
  const wrong: unknown[] = [undefined, null, true, {}, { allow: "yes" }, Promise.resolve({ allow: true })];
  for (const said of wrong) {
    const { gate: made, lines } = gate(() => said as Verdict);
    using _ = made;
    assertEquals(made.ask(attempt()).verdict.allow, false, String(said));
    assertEquals(lines, [`denied a -> b:80 ${Errno.ECONNREFUSED}`]);
  }
  const { gate: made } = gate(() => {
    throw new Error("because of the test");
  });
  using _ = made;
  assertEquals(
    made.ask(attempt()).verdict.reason,
    "the verdict function threw an exception: Error: because of the test",
  );
});

Deno.test("ask() tells of what would be denied, and lets it in", () => {
  const { gate: made, lines } = gate(() => ({ allow: true, wouldDeny: true, reason: "test" }));
  using _ = made;
  assertEquals(made.ask(attempt()).verdict.allow, true);
  assertEquals(lines, ["would-deny a -> b:80 0"]);
});

Deno.test("denials of a VM are told at a bounded rate, and what was left out with the next that is told", async () => {
  const { gate: made, lines, clock } = gate(deny, { denialBurst: 2, denialsPerSecond: 1 });
  using _ = made;
  for (let i = 0; i < 10; i++) made.ask(attempt());
  assertEquals(lines.length, 2);
  made.ask(attempt("c"));
  made.ask(attempt("host", "a"));
  assertEquals(lines.length, 4, "others have buckets of their own");
  await clock.pass(1000);
  made.ask(attempt());
  assertEquals(lines.slice(4), ["suppressed a 8", `denied a -> b:80 ${Errno.ECONNREFUSED}`]);
  made.ask(attempt());
  assertEquals(lines.length, 6);
  made[Symbol.dispose]();
  assertEquals(lines.slice(6), ["suppressed a 1"], "at the end too");
});

Deno.test("what was left out is told without a further denial, and buckets that are full again are forgotten", async () => {
  const { gate: made, lines, clock } = gate(deny, { denialBurst: 1, denialsPerSecond: 1, denialSummaryMs: 5 });
  using _ = made;
  for (let i = 0; i < 3; i++) made.ask(attempt());
  await clock.pass(5);
  assertEquals(lines.slice(1), ["suppressed a 2"]);
  await clock.pass(2000);
  assertEquals([lines.length, clock.pending], [2, 0]);
  made.ask(attempt());
  assertEquals(lines.length, 3, "the timer runs again when there is something to tell");
});

Deno.test("review() asks with what was said at first, and says whether the answer is another", () => {
  const asked: (Verdict | undefined)[] = [];
  let now: Verdict = { allow: true, reason: "one", revision: "1", names: ["example.com"] };
  const { gate: made, lines } = gate((_, before) => {
    asked.push(before);
    return now;
  });
  using _ = made;
  const admission = made.ask(attempt());
  const first = now;
  now = { allow: true, reason: "two", revision: "2" };
  assertEquals([made.review(admission), admission.verdict, admission.current], [false, first, now]);
  now = { allow: false, reason: "three" };
  assertEquals([made.review(admission), made.review(admission)], [true, false]);
  assertEquals(asked, [undefined, first, first, first]);
  assertEquals(lines, [], "what becomes of it is not for review() to tell");
  now = { allow: true, wouldDeny: true, reason: "four" };
  assertEquals([made.review(admission), made.review(admission), lines], [true, false, ["would-deny a -> b:80 0"]]);
});
