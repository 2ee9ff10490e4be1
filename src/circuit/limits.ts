/**
 * Limits of the switch, in one place. Every queue and table is bounded by one of them.
 *
 * @module
 */

import type { LogRate } from "./log_budget.ts";

/** Limits, each with its unit. */
export interface Limits {
  /** Bytes of each ring; a power of two from 16 KiB to 16 MiB. */
  readonly ringBytes: number;
  /** Bytes of a VM's window; a power of two. */
  readonly windowBytes: number;
  /** Bytes of the first arena of a pair; each further one that it has at the same time has twice as many, where there is room. */
  readonly arenaBytes: number;
  /** Bytes that an arena has at most. */
  readonly arenaMaxBytes: number;
  /** Milliseconds that an arena is kept after its last circuit. */
  readonly arenaIdleMs: number;
  /** Free slots of an arena that keep their memory, zeroed, for the next circuits. */
  readonly warmSlots: number;
  /** Bytes of memory that one of them keeps at most; the data plane takes no more than 64 KiB. */
  readonly warmSlotBytes: number;
  /** Milliseconds after which memory that free slots keep, and have not needed, goes back to the system; at most twice as many. */
  readonly warmMs: number;
  /** Milliseconds that a driver has to answer ARENA_PREPARE, ARENA_MAPPED and ARENA_RETIRE. */
  readonly arenaAnswerMs: number;
  /** Milliseconds that a connection attempt waits for a full backlog. */
  readonly connectMs: number;
  /** Circuits of one VM: each from its opening until both ends have closed, and the data plane has let go of it. */
  readonly maxCircuits: number;
  /** Listeners of one VM. */
  readonly maxListeners: number;
  /** Connection attempts of one VM that are not decided. */
  readonly maxAttempts: number;
  /** Connections that may wait for one listener's accept(), and as many attempts that may wait for its backlog. */
  readonly maxBacklog: number;
  /** Connections from the host's network that may wait for one listener's backlog; each holds a descriptor. */
  readonly maxInbound: number;
  /** Milliseconds after which a published port that could not be bound is tried again. */
  readonly publishRetryMs: number;
  /** Destinations, or sources, that one datagram circuit to the host's stack remembers; the data plane takes no more. */
  readonly maxFlows: number;
  /** Flows of all datagram circuits of one VM to the host's stack. */
  readonly maxVmFlows: number;
  /** Milliseconds after which an arena of circuits that policy has cut is taken from its VMs, whatever their drivers do. */
  readonly revokeMs: number;
  /** Milliseconds that a driver's goodbye waits for its window to be emptied; it waits for two seconds. */
  readonly byeMs: number;
  /** Denials of one VM that are told at once; as many lines of each other kind that it can cause. */
  readonly denialBurst: number;
  /** Denials of one VM that are told per second, in the long run; as many lines of each other kind. */
  readonly denialsPerSecond: number;
  /** Milliseconds after which it is said how many denials, or other lines, were left out, when none is told meanwhile. */
  readonly denialSummaryMs: number;
}

/** Descriptors besides those of circuits and of what waits for them: guest memory, queues, arenas, and what is shared with other ports. */
const OTHER_DESCRIPTORS = 17_408;

/** Descriptors that one VM's part of the data plane may have. Where they do not suffice, as for what waits for many listeners, it waits on in the kernel. */
export function descriptorsOf({ maxCircuits, maxListeners }: Limits): number {
  return maxCircuits + maxListeners + OTHER_DESCRIPTORS;
}

/** How much is told of what a VM can cause. */
export function logRate({ denialBurst, denialsPerSecond, denialSummaryMs }: Limits): LogRate {
  return { burst: denialBurst, perSecond: denialsPerSecond, summaryMs: denialSummaryMs };
}

/** The limits that hold where nothing else is configured. */
export const DEFAULT_LIMITS: Limits = {
  ringBytes: 256 << 10,
  windowBytes: 2 ** 34,
  arenaBytes: 2 ** 27,
  arenaMaxBytes: 2 ** 30,
  arenaIdleMs: 30_000,
  warmSlots: 128,
  warmSlotBytes: 64 << 10,
  warmMs: 500,
  arenaAnswerMs: 10_000,
  connectMs: 127_000,
  maxCircuits: 65_536,
  maxListeners: 4_096,
  maxAttempts: 4_096,
  maxBacklog: 65_535,
  maxInbound: 1_024,
  publishRetryMs: 1_000,
  maxFlows: 4_096,
  maxVmFlows: 65_536,
  revokeMs: 5_000,
  byeMs: 1_000,
  denialBurst: 20,
  denialsPerSecond: 5,
  denialSummaryMs: 10_000,
};
