/**
 * What is aimed at. Nothing fails when it is missed: it is said.
 *
 * @module
 */

import { GUEST_TO_GUEST, GUEST_TO_HOST } from "./guests/parts.ts";
import type { Target } from "./figures.ts";

/** What users have today, between guests. */
const PEERS = ["tap", "passt", "stream", "vsock"];
const BULK = ["iperf3, 1 stream", "iperf3, 1 stream, back", "iperf3, 4 streams", "iperf3, 4 streams, back", "bulk"];

/** Between guests: how many times as good as the best of the others, in each column. */
const betweenGuests: readonly (readonly [measure: string, ratio: number, who?: string])[] = [
  ...BULK.map((measure) => [measure, 2] as const),
  ["bulk, written and read", 4, "csvn mapped"],
  ["round trip, median", 0.5],
  ["connections, one at a time", 2],
  ["connections, 16 at once", 2],
  ["HTTP, keep-alive", 1.5],
  ["HTTP, a connection each", 2],
  ["UDP, 8 KiB", 2],
];

/** From a guest to its host. */
const toHost: readonly (readonly [measure: string, ratio: number])[] = [
  ...BULK.map((measure) => [measure, 1.5] as const),
  ["round trip, median", 1],
  ["connections, one at a time", 1],
  ["connections, 16 at once", 1],
  ["HTTP, keep-alive", 1],
  ["HTTP, a connection each", 1],
  ["redis GET, 16 clients", 1],
  ["UDP, 1,400 bytes", 1],
  ["UDP, 8 KiB", 1],
];

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
  ...betweenGuests.map(([measure, ratio, who = "csvn"]) => ({
    part: GUEST_TO_GUEST,
    measure,
    who,
    versus: PEERS,
    ratio,
  })),
  { part: GUEST_TO_GUEST, measure: "UDP, 8 KiB, paced, lost", who: "csvn", ratio: 0 },
  ...toHost.map(([measure, ratio]) => ({ part: GUEST_TO_HOST, measure, who: "csvn", versus: PEERS, ratio })),
];
