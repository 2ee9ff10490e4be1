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
  /** The VM that it wants to reach; `host`: something beyond the host's stack. */
  readonly to: string;
  readonly destination: Endpoint;
}

/** What policy says, and why; the reason goes to the log. */
export interface Verdict {
  readonly allow: boolean;
  readonly reason: string;
}

/** Decides about an attempt. It must not throw; an exception counts as a denial. */
export type VerdictFunction = (attempt: Attempt) => Verdict;

/** VMs on one switch may connect to each other. */
export const allowAll: VerdictFunction = () => ({ allow: true, reason: "policy allow: VMs of one switch may connect" });

/** Nobody may connect to anybody. */
export const denyAll: VerdictFunction = () => ({ allow: false, reason: "policy deny: no connection is allowed" });
