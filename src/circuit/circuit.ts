/**
 * A circuit: one connection, from the moment both ends are told until both have closed or are gone.
 *
 * @module
 */

import { type Endpoint, formatEndpoint } from "../net/address.ts";
import type { Arena } from "./arena.ts";
import type { HostCircuit } from "./host.ts";
import type { Protocol } from "./listener.ts";
import type { Vm } from "./vm.ts";

/** One end of a circuit: a VM's, or the host's stack. */
export type CircuitEnd = VmEnd | HostEnd;

/** A VM's end. */
export interface VmEnd extends EndState {
  readonly vm: Vm;
  /** The id by which the VM's driver knows it. */
  readonly id: number;
}

/** The host's end. */
export interface HostEnd extends EndState {
  readonly vm?: undefined;
  /** Its socket; undefined until it is open. */
  host: HostCircuit | undefined;
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

/** One connection. */
export interface Circuit {
  /** Running number, for the log. */
  readonly number: number;
  readonly protocol: Protocol;
  readonly arena: Arena;
  readonly slot: number;
  /** The end that connected, and the end that accepted. */
  readonly ends: readonly [CircuitEnd, CircuitEnd];
  /** Milliseconds since the epoch. */
  readonly openedAt: number;
}

/** The other end. */
export function peerOf(circuit: Circuit, end: CircuitEnd): CircuitEnd {
  return circuit.ends[0] === end ? circuit.ends[1] : circuit.ends[0];
}

/** Is the host's stack at one of its ends? */
export function isDirect(circuit: Circuit): boolean {
  return circuit.ends.every((end) => end.vm !== undefined);
}

/** `client 10.77.0.2:40000 -> web 10.77.0.10:80`, for the log. */
export function describeEnds(circuit: Circuit): string {
  return circuit.ends.map((end) => `${end.vm?.name ?? "host"} ${formatEndpoint(end.endpoint)}`).join(" -> ");
}
