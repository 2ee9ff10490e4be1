/**
 * Where verdicts are asked for: the one place that calls the verdict function, believes nothing of it, and says what it denied.
 *
 * Theory of operation. An *admission* is an attempt with what policy says of it: at first, and after each change. A verdict function that
 * throws, or answers with what is no verdict, has denied. Denials are told to the log and to the recorder, of each VM as many as its
 * budget lets through (`log_budget.ts`); how many were left out is told, too.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock } from "../clock.ts";
import { formatEndpoint } from "../net/address.ts";
import { Admission, denialErrno } from "./admission.ts";
import { type Limits, logRate } from "./limits.ts";
import { fromHost, LogBudget } from "./log_budget.ts";
import type { Recorder } from "./recorder.ts";
import type { Attempt, Verdict, VerdictFunction } from "./verdict.ts";

const log = getLogger(["csvn", "policy"]);

/** Asks for verdicts. */
export class Gatekeeper implements Disposable {
  readonly #told: LogBudget;

  constructor(
    readonly verdict: VerdictFunction,
    readonly limits: Limits,
    readonly recorder: Recorder,
    clock: Clock,
  ) {
    this.#told = new LogBudget(logRate(limits), clock, (who, suppressed) => {
      log.warn("{suppressed} more denials of {who} were left out", { suppressed, who });
      recorder.suppressed(who, suppressed);
    });
  }

  /** Ask about an attempt; whether it is let in is in the admission's verdict. */
  ask(attempt: Attempt): Admission {
    const admission = new Admission(attempt, this.judge(attempt));
    this.denied(admission);
    return admission;
  }

  /** Tell of an admission that it is denied, or would be; of others nothing. */
  denied(admission: Admission): void {
    this.#tell(admission, "denied");
  }

  /** The switch itself lets an attempt go nowhere, before policy was asked. */
  refuse(attempt: Attempt, reason: string, errno: number): void {
    this.#tell(new Admission(attempt, { allow: false, reason }), "refused", errno);
  }

  /** Policy has changed: ask again. What it says now is the admission's; whether that is another answer than before. */
  review(admission: Admission): boolean {
    const before = admission.current;
    const now = admission.current = this.judge(admission.attempt, admission.verdict);
    if (now.allow && now.wouldDeny && !before.wouldDeny) this.denied(admission);
    return now.allow !== before.allow;
  }

  /** What a verdict function says; an exception, or what is no verdict, is a denial. */
  judge(attempt: Attempt, before?: Verdict, verdict: VerdictFunction = this.verdict): Verdict {
    try {
      const said = verdict(attempt, before);
      if (typeof said.allow !== "boolean") throw new TypeError("it answered with what is no verdict");
      return said;
    } catch (error) {
      return { allow: false, reason: `the verdict function threw an exception: ${error}` };
    }
  }

  [Symbol.dispose](): void {
    this.#told[Symbol.dispose]();
  }

  #tell(admission: Admission, how: "denied" | "refused", errno = denialErrno(admission.current)): void {
    const { attempt, current } = admission;
    if (current.allow && !current.wouldDeny) return;
    if (!this.#told.take(attempt.from === "host" ? fromHost(attempt.to) : attempt.from)) return;
    const names = {
      how: current.allow ? "would be denied" : how,
      from: attempt.from,
      source: formatEndpoint(attempt.source),
      to: attempt.to,
      destination: formatEndpoint(attempt.destination) + (attempt.protocol === "udp" ? "/udp" : ""),
      reason: current.reason,
    };
    log.warn("{how}: {from} {source} -> {to} {destination}: {reason}", names);
    this.recorder.denied(admission, current.allow ? 0 : errno);
  }
}
