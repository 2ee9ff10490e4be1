/**
 * Where verdicts are asked for: the one place that calls the verdict function, believes nothing of it, and says what it denied.
 *
 * Theory of operation. An *admission* is an attempt with what policy says of it: at first, and after each change. A verdict function that
 * throws, or answers with what is no verdict, has denied. Denials are told to the log and to the recorder, of each VM as many as its
 * bucket of tokens lets through; what was left out is counted, and told with the next denial that is let through, or after a
 * while without one.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock, Timer } from "../clock.ts";
import { Errno } from "../errno.ts";
import { formatEndpoint } from "../net/address.ts";
import type { Limits } from "./limits.ts";
import type { Recorder } from "./recorder.ts";
import type { Attempt, OnDeny, Verdict, VerdictFunction } from "./verdict.ts";

const log = getLogger(["csvn", "policy"]);

/** A connection that was asked for, and what policy says of it. */
export class Admission {
  /** What policy says of it now. */
  current: Verdict;

  /** @param verdict What was said when it was set up. */
  constructor(readonly attempt: Attempt, readonly verdict: Verdict) {
    this.current = verdict;
  }
}

const errnos: Record<OnDeny, number> = {
  refuse: Errno.ECONNREFUSED,
  unreachable: Errno.EHOSTUNREACH,
  prohibit: Errno.EACCES,
  drop: 0,
};

/** What a denial comes to in the guest: an errno, or 0 for no answer. */
export function denialErrno({ onDeny = "refuse" }: Verdict): number {
  return errnos[onDeny] ?? Errno.ECONNREFUSED;
}

/** Denials of one VM that may still be told. */
interface Bucket {
  tokens: number;
  /** When they were counted, in milliseconds. */
  at: number;
  suppressed: number;
}

/** Asks for verdicts. */
export class Gatekeeper implements Disposable {
  readonly #buckets = new Map<string, Bucket>();
  #timer: Timer | undefined;

  constructor(
    readonly verdict: VerdictFunction,
    readonly limits: Limits,
    readonly recorder: Recorder,
    readonly clock: Clock,
  ) {}

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
    this.#stop();
    for (const [who, bucket] of this.#buckets) this.#tellSuppressed(who, bucket);
    this.#buckets.clear();
  }

  #stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #tell(admission: Admission, how: "denied" | "refused", errno = denialErrno(admission.current)): void {
    const { attempt, current } = admission;
    if (current.allow && !current.wouldDeny) return;
    // What comes from the host's network must not use up what a VM has.
    const who = attempt.from === "host" ? `host to ${attempt.to}` : attempt.from;
    const bucket = this.#bucket(who);
    if (bucket.tokens < 1) {
      bucket.suppressed++;
      return;
    }
    bucket.tokens--;
    this.#tellSuppressed(who, bucket);
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

  #tellSuppressed(who: string, bucket: Bucket): void {
    if (bucket.suppressed === 0) return;
    log.warn("{suppressed} more denials of {who} were left out", { suppressed: bucket.suppressed, who });
    this.recorder.suppressed(who, bucket.suppressed);
    bucket.suppressed = 0;
  }

  #bucket(who: string): Bucket {
    const { denialBurst, denialsPerSecond, denialSummaryMs } = this.limits;
    let bucket = this.#buckets.get(who);
    if (!bucket) {
      bucket = { tokens: denialBurst, at: this.clock.now(), suppressed: 0 };
      this.#buckets.set(who, bucket);
    }
    const now = this.clock.now();
    bucket.tokens = Math.min(denialBurst, bucket.tokens + (now - bucket.at) * denialsPerSecond / 1000);
    bucket.at = now;
    this.#timer ??= this.clock.after(denialSummaryMs, () => this.#sweep());
    return bucket;
  }

  /** Tell what was left out, and forget those who have not been denied anything for a while. */
  #sweep(): void {
    this.#timer = undefined;
    for (const who of [...this.#buckets.keys()]) {
      const bucket = this.#bucket(who);
      this.#tellSuppressed(who, bucket);
      if (bucket.tokens >= this.limits.denialBurst) this.#buckets.delete(who);
    }
    if (this.#buckets.size === 0) this.#stop();
  }
}
