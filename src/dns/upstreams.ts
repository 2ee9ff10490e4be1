/**
 * Who is asked for names that are not the switch's.
 *
 * @module
 */

import type { Endpoint } from "../net/address.ts";

/** The upstreams, which may change. */
export interface Upstreams {
  /** Those to be asked now, in this order. */
  readonly current: readonly Endpoint[];
  /** One of them has answered. */
  answered(upstream: Endpoint): void;
}

/** Upstreams that stay the same. */
export function fixedUpstreams(upstreams: readonly Endpoint[]): Upstreams {
  return { current: upstreams, answered: () => {} };
}
