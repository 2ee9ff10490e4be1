/**
 * What the switch operator needs of the host's stack. `src/ffi` implements it.
 *
 * @module
 */

import type { Endpoint } from "../net/address.ts";
import type { ArenaMemory, Device } from "./plane.ts";
import type { Extents } from "./records.ts";

/** An arena that the data plane has mapped for itself, for circuits to the host's stack. */
export type HostArena = Disposable;

/** Told about a host circuit. */
export interface HostCircuitHandler {
  /** The outcome of connecting: 0, or an errno, after which the circuit is of no use. */
  connected(errno: number): void;
  /** Nothing moves any more: bytes sent to the guest and received from it, and 0 or the errno that ended it. */
  done(sent: bigint, received: bigint, errno: number): void;
}

/** The host's end of a circuit; disposing it resets what is not finished. */
export interface HostCircuit extends Disposable {
  /** The guest has closed its end: what it sent goes out, and nothing more comes in. */
  finish(): void;
}

/** A connection from the host's network. */
export interface HostConnection {
  readonly remote: Endpoint;
  /** Turn it away by a reset. */
  refuse(): void;
}

/** What a host circuit is made of. */
export interface HostCircuitSetup {
  readonly device: Device;
  /** The guest's circuit id. */
  readonly id: number;
  readonly arena: HostArena;
  /** As the host's end sees them. */
  readonly extents: Extents;
  /** Where to connect to, or a connection that came in. */
  readonly to: Endpoint | HostConnection;
}

/** A listening socket of the host's stack. */
export interface HostListener extends Disposable {
  /** Its port, also when it was asked for as 0. */
  readonly port: number;
}

/** The host's stack. All throw {@linkcode SystemError}. */
export interface HostStack {
  /** Map an arena. */
  mapArena(memory: ArenaMemory): HostArena;
  /** Begin a circuit. A connection that came in is taken over, also when this throws. */
  open(setup: HostCircuitSetup, handler: HostCircuitHandler): HostCircuit;
  /** Listen on an address and port of the host. */
  listen(local: Endpoint, accept: (connection: HostConnection) => void): HostListener;
}
