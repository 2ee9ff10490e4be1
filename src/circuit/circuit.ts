/**
 * A circuit: one connection, from the moment both ends are told until both have closed or are gone.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock } from "../clock.ts";
import { type Endpoint, formatEndpoint } from "../net/address.ts";
import type { Admission } from "./admission.ts";
import type { Arena } from "./arena.ts";
import type { HostCircuit } from "./host.ts";
import type { Protocol } from "./listener.ts";
import type { Vm } from "./vm.ts";

const log = getLogger(["csvn", "circuit"]);

/** One end of a circuit: a VM's, or the host's stack. */
export type CircuitEnd = VmEnd | HostEnd;

/** A VM's end. */
export interface VmEnd extends EndState {
  readonly vm: Vm;
  /** The id by which the VM's driver knows it. */
  readonly id: number;
  /** The driver was told that it is over. */
  reset: boolean;
}

/** The host's end. */
export interface HostEnd extends EndState {
  readonly vm?: undefined;
  /** Its socket; undefined until it is open. */
  host: HostCircuit | undefined;
  /** Once it is closed: resolves when it does not touch the circuit's memory any more. */
  left?: Promise<void> | undefined;
}

/** What all ends have. */
export interface EndState {
  readonly endpoint: Endpoint;
  /** The driver said that it will not touch it again, or is gone. */
  closed: boolean;
  /** Bytes that it sent, as its driver says; undefined when that is gone without a word. */
  sent?: bigint;
  /** Bytes that it received, as its driver says. */
  received?: bigint;
}

/** What a circuit is in:
 * - `opening`: the host's stack is connecting; the VM has not been told;
 * - `open`: both ends were told;
 * - `cut`: policy has forbidden it; both ends were told, and not both have closed;
 * - `closing`: both ends have closed, or are gone; its slot and its ids are kept until the data plane has let go of them;
 * - `closed`: nothing is left of it.
 */
export type CircuitState = "opening" | "open" | "cut" | "closing" | "closed";

const next: Record<CircuitState, readonly CircuitState[]> = {
  opening: ["open", "closing"],
  open: ["cut", "closing"],
  cut: ["closing"],
  closing: ["closed"],
  closed: [],
};

/** Why a circuit ended: by its ends, by policy, since a VM was gone, since an end broke the ring's rules, or since the host's stack said so. */
export type EndReason = "closed" | "policy" | "gone" | "violation" | "reset";

/** What became of a connection. */
export interface Outcome {
  /** Bytes from the end that connected; undefined when nobody is left to say. */
  readonly sent: bigint | undefined;
  /** Bytes to the end that connected. */
  readonly received: bigint | undefined;
  readonly seconds: number;
  readonly why: EndReason;
}

/** One connection. */
export interface Circuit {
  /** Running number, for the log. */
  readonly number: number;
  readonly protocol: Protocol;
  readonly arena: Arena;
  readonly slot: number;
  /** The end that connected, and the end that accepted. */
  readonly ends: readonly [CircuitEnd, CircuitEnd];
  /** By the clock; milliseconds. */
  readonly openedAt: number;
  /** Changed by {@linkcode become} alone. */
  readonly state: CircuitState;
  /** The first thing that went wrong. */
  why: EndReason;
  /** Both ends are VMs. */
  readonly direct: boolean;
  /** By what it was let in; undefined for datagrams to and from the host's stack, where each flow has its own. */
  readonly admission: Admission | undefined;
  /** Told when both ends have closed; undefined: nobody. */
  ended: (() => void) | undefined;
}

/** Go to another state. @throws {Error} There is no such way, which is a bug. */
export function become(circuit: Circuit, state: CircuitState): void {
  if (!next[circuit.state].includes(state)) throw new Error(`a circuit cannot go from ${circuit.state} to ${state}`);
  (circuit as { state: CircuitState }).state = state;
}

/** Something went wrong with a circuit; the first thing counts. */
export function blame(circuit: Circuit, why: EndReason): void {
  if (circuit.why === "closed") circuit.why = why;
}

/** What became of a circuit that is over. */
export function outcomeOf({ ends: [a, b], openedAt, why }: Circuit, clock: Clock): Outcome {
  return {
    // What a VM that died cannot tell any more, its peer can.
    sent: a.sent ?? b.received,
    received: b.sent ?? a.received,
    seconds: (clock.now() - openedAt) / 1000,
    why,
  };
}

/** The other end. */
export function peerOf(circuit: Circuit, end: CircuitEnd): CircuitEnd {
  return circuit.ends[0] === end ? circuit.ends[1] : circuit.ends[0];
}

/** `client 10.77.0.2:40000 -> web 10.77.0.10:80`, for the log. */
export function describeEnds(circuit: Circuit): string {
  return circuit.ends.map((end) => `${end.vm?.name ?? "host"} ${formatEndpoint(end.endpoint)}`).join(" -> ");
}

// Two lines for each connection: a fifth of what a set-up costs, and a file that any guest can fill.

/** Both ends know of it. */
export function logOpened(circuit: Circuit): void {
  log.debug("circuit {circuit} open: {ends}, {protocol} {way}", () => describe(circuit));
}

/** It is over. */
export function logClosed(circuit: Circuit, { sent, received, seconds, why }: Outcome): void {
  log.debug(
    "circuit {circuit} closed: {ends}, {protocol} {way}, {sent} bytes there, {received} back, {seconds} s{why}",
    () => ({
      ...describe(circuit),
      sent: sent ?? "unknown",
      received: received ?? "unknown",
      seconds,
      why: why === "closed" ? "" : `, ${why}`,
    }),
  );
}

function describe(circuit: Circuit): Record<string, unknown> {
  return {
    circuit: circuit.number,
    ends: describeEnds(circuit),
    protocol: circuit.protocol,
    way: circuit.direct ? "direct" : "by the host's stack",
  };
}
