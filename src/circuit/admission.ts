/**
 * An attempt with what policy says of it: at first, and after each change. Whoever asks for one does so in `gatekeeper.ts`.
 *
 * @module
 */

import { Errno } from "../errno.ts";
import type { Attempt, OnDeny, Verdict } from "./verdict.ts";

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
