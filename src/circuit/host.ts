/**
 * What the switch operator needs of the host's stack. `src/ffi` implements it.
 *
 * @module
 */

import type { Endpoint } from "../net/address.ts";
import type { ArenaMemory, Device } from "./plane.ts";
import type { Extents, SocketOptions } from "./records.ts";

/** An arena that the data plane has mapped for itself, for circuits to the host's stack. */
export type HostArena = Disposable;

/** Told about a host circuit. */
export interface HostCircuitHandler {
  /** The outcome, told once: 0, or the errno with which it could not be opened or connected, after which the circuit is of no use. */
  connected(errno: number): void;
  /** Nothing moves any more: bytes sent to the guest and received from it, and 0 or the errno that ended it. */
  done(sent: bigint, received: bigint, errno: number): void;
}

/** The host's end of a circuit. */
export interface HostCircuit {
  /**
   * End it, and forget it; what is not finished is reset. Resolves when nobody touches its memory any more: then that may be given to
   * others. It never rejects.
   */
  close(): Promise<void>;
  /** The guest has closed its end: what it sent goes out, and nothing more comes in. */
  finish(): void;
  /** The guest's socket has other options now: the host's takes what it can of them. */
  setOptions(options: SocketOptions): void;
}

/** The host's end of a datagram circuit. */
export interface HostDatagram extends HostCircuit {
  /**
   * Decide about an address: may datagrams be exchanged with it? When that cannot be done, the circuit ends.
   *
   * @param guest As the guest calls it.
   * @param actual As the host's stack does.
   * @param errno What the guest's datagrams are answered with while it is not allowed; 0: nothing.
   */
  permit(guest: Endpoint, actual: Endpoint, allowed: boolean, errno: number): void;
  /** Forget what was decided about an address. */
  forget(guest: Endpoint): void;
  /** Bytes that were sent to the guest from an address and received for it, since this was asked last. */
  moved(guest: Endpoint): { readonly sent: bigint; readonly received: bigint };
}

/** Told about a datagram circuit. */
export interface HostDatagramHandler {
  /** The outcome, told once: 0, or the errno with which it could not be opened, after which the circuit is of no use. */
  opened(errno: number): void;
  /** Datagrams come from an unknown address: nothing is received until `permit` was called for it. */
  source(address: Endpoint): void;
  done(sent: bigint, received: bigint, errno: number): void;
}

/** A connection from the host's network. */
export interface HostConnection {
  readonly remote: Endpoint;
  /** Turn it away by a reset. */
  refuse(): void;
  /** It is not decided about now: tell when its client has reset it, or nobody can know any more. */
  wait(handler: HostConnectionHandler): void;
}

/** Told about a connection that waits. */
export interface HostConnectionHandler {
  gone(): void;
}

/** What a host circuit is made of. */
export interface HostCircuitSetup {
  readonly device: Device;
  /** The guest's circuit id. */
  readonly id: number;
  readonly arena: HostArena;
  /** As the host's end sees them. */
  readonly extents: Extents;
  /** What the guest's socket was told before it connected. */
  readonly options?: SocketOptions | undefined;
}

/** A listening socket of the host's stack. */
export interface HostListener extends Disposable {
  /** Its port, also when it was asked for as 0. */
  readonly port: number;
}

/** The host's stack. What is asked for is done in its order, and nothing is thrown: outcomes come later. */
export interface HostStack {
  /** Map an arena, for a device's circuits. Rejects with a {@linkcode SystemError}. */
  mapArena(device: Device, memory: ArenaMemory): Promise<HostArena>;
  /** Begin a stream circuit, by connecting or with a connection that came in, which is taken over also when it cannot be opened. */
  open(setup: HostCircuitSetup, to: Endpoint | HostConnection, handler: HostCircuitHandler): HostCircuit;
  /** Begin a datagram circuit. @param bind The address of a published port; undefined: any, for what the guest sends. */
  openDatagram(setup: HostCircuitSetup, bind: Endpoint | undefined, handler: HostDatagramHandler): HostDatagram;
  /** Listen on an address and port of the host, for a device's VM. Rejects with a {@linkcode SystemError}. */
  listen(device: Device, local: Endpoint, accept: (connection: HostConnection) => void): Promise<HostListener>;
}
