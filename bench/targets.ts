/**
 * What is aimed at. Nothing fails when it is missed: it is said.
 *
 * @module
 */

import type { Target } from "./figures.ts";

/** All targets, by part. */
export const targets: readonly Target[] = [
  { part: "native", measure: "copied", size: 65_536, who: "ring", versus: "AF_UNIX", ratio: 1.3 },
  { part: "native", measure: "copied", size: 65_536, who: "ring", versus: "TCP", ratio: 2.5 },
  { part: "native", measure: "read", size: 65_536, who: "ring in place", versus: "TCP", ratio: 3 },
  { part: "native", measure: "round trip, spinning", size: 1, who: "ring", ratio: 1 },
  { part: "native", measure: "round trip, sleeping", size: 1, who: "ring", versus: "eventfd", ratio: 1.2 },
  { part: "pump", measure: "64 KiB writes", who: "csvn", versus: "TCP", ratio: 0.8 },
  { part: "pump", measure: "round trip", who: "csvn", versus: "TCP", ratio: 1.5 },
  { part: "setup", measure: "64 at once", who: "csvn", ratio: 10_000 },
  {
    part: "setup",
    measure: "64 at once, 10000 open",
    who: "csvn",
    versus: "csvn",
    versusMeasure: "64 at once",
    ratio: 0.8,
  },
  { part: "setup", measure: "memory of an idle circuit", who: "csvn", ratio: 16 },
];
