/**
 * A VM as the switch knows it: who it is, whether its driver is up, and what it holds.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Endpoint } from "../net/address.ts";
import type { ArenaEnd } from "./arena_end.ts";
import type { Circuit, VmEnd } from "./circuit.ts";
import type { OpenedDatagram } from "./circuits.ts";
import type { ConnectAttempt } from "./connect.ts";
import { ExtentAllocator } from "./extent_allocator.ts";
import { IdAllocator } from "./id_allocator.ts";
import type { Limits } from "./limits.ts";
import { Listeners } from "./listener.ts";
import type { Device, Mapper } from "./plane.ts";
import type { VmIdentity } from "./records.ts";

const log = getLogger(["csvn", "vm"]);

// Arenas begin at multiples of a huge page.
const WINDOW_ALIGNMENT = 2 << 20;

/** What a VM is in:
 * - `attached`: its front-end is connected; no driver, or one that has not said HELLO;
 * - `ready`: its driver is up; it may listen and connect;
 * - `leaving`: its driver said goodbye, and waits for its window to be emptied; nothing else is done;
 * - `faulted`: its driver broke a queue; it is ignored until the device starts anew;
 * - `gone`: its front-end is gone; the object is dead.
 */
export type VmState = "attached" | "ready" | "leaving" | "faulted" | "gone";

/** One end of a circuit, and the circuit. */
export interface HeldCircuit {
  readonly circuit: Circuit;
  readonly end: VmEnd;
}

/** A VM's datagram socket, as the keys of {@linkcode Vm.hostDatagrams} name it. */
export function datagramKey({ address, port }: Endpoint): string {
  return `${address.family}:${port}`;
}

/** A VM on the switch. */
export class Vm {
  /** One more with each HELLO: what began in an earlier one is over. */
  incarnation = 0;
  readonly circuits = new Map<number, HeldCircuit>();
  readonly listeners = new Listeners();
  /** Attempts that are not decided, by the token of their CONNECT. */
  readonly attempts = new Map<bigint, ConnectAttempt>();
  /** Datagram circuits to the host's stack, by the socket's family and port: one for all its destinations. */
  readonly hostDatagrams = new Map<string, OpenedDatagram>();
  /** Flows of all of them. */
  flows = 0;
  /** Ends of arenas that have a place in its window, by the id that its driver knows. */
  readonly arenas = new Map<number, ArenaEnd>();
  readonly ids: IdAllocator;
  window: ExtentAllocator;
  #state: VmState = "attached";
  #nextArena = 1;
  #nextEvent = 0n;

  constructor(
    readonly identity: VmIdentity,
    readonly device: Device,
    readonly mapper: Mapper,
    readonly limits: Limits,
  ) {
    this.ids = new IdAllocator(limits.maxCircuits);
    this.window = new ExtentAllocator(limits.windowBytes, WINDOW_ALIGNMENT);
  }

  /** Its name in the directory. */
  get name(): string {
    return this.identity.name;
  }

  /** What it is in. */
  get state(): VmState {
    return this.#state;
  }

  /** Is its device started, while its driver is not there any more? */
  get isLeaving(): boolean {
    return this.#state === "leaving" || this.#state === "faulted";
  }

  /** Go to another state. */
  become(state: VmState, why: string): void {
    if (state === this.#state) return;
    log.debug("{vm}: {before} -> {state}: {why}", { vm: this.name, before: this.#state, state, why });
    this.#state = state;
  }

  /** A new driver is up: its window is empty, and its events are numbered anew. */
  begin(): void {
    this.incarnation++;
    this.window = new ExtentAllocator(this.limits.windowBytes, WINDOW_ALIGNMENT);
    this.#nextEvent = 0n;
  }

  /** An id for a new arena in its window. */
  nextArenaId(): number {
    return this.#nextArena++ >>> 0;
  }

  /** The number of the next event. */
  nextEvent(): bigint {
    return this.#nextEvent++;
  }
}
