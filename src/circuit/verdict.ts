/**
 * The verdict on a connection attempt: a function, asked once per connection, that answers with a reason.
 *
 * @module
 */

import type { Endpoint } from "../net/address.ts";

/** A connection attempt, as policy sees it. */
export interface Attempt {
  readonly protocol: "tcp" | "udp";
  /** The VM that connects, by its name in the switch's directory; `host`: from the host's network, to a published port. */
  readonly from: string;
  readonly source: Endpoint;
  /** The VM that it wants to reach; `host`: something beyond the host's stack, or the switch itself. */
  readonly to: string;
  readonly destination: Endpoint;
}

/** What a denied attempt comes to in the guest: ECONNREFUSED, EHOSTUNREACH, EACCES, or no answer until it times out. */
export type OnDeny = "refuse" | "unreachable" | "prohibit" | "drop";

/** What policy says, and why; the reason goes to the log. */
export interface Verdict {
  readonly allow: boolean;
  readonly reason: string;
  /** Default: refuse. */
  readonly onDeny?: OnDeny;
  /** It is allowed only because policy is being tried out: it would have been denied, for this reason. */
  readonly wouldDeny?: boolean;
  /** The policy set that it was made by. */
  readonly revision?: string;
  /** DNS names that the destination had when the verdict was made. */
  readonly names?: readonly string[];
  /** More about how it was made, for the audit log: plain JSON. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/**
 * Decides about an attempt. It must not throw; an exception counts as a denial.
 *
 * @param before When policy has changed: what was said of this connection when it was set up.
 */
export type VerdictFunction = (attempt: Attempt, before?: Verdict) => Verdict;

/** VMs on one switch may connect to each other. */
export const allowAll: VerdictFunction = () => ({ allow: true, reason: "policy allow: VMs of one switch may connect" });

/** Nobody may connect to anybody. */
export const denyAll: VerdictFunction = () => ({ allow: false, reason: "policy deny: no connection is allowed" });
