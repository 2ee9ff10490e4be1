/**
 * A VM as the switch knows it: who it is, and whether its driver is up. What it holds, those parts of the switch know that work on it.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { ExtentAllocator } from "./extent_allocator.ts";
import { IdAllocator } from "./id_allocator.ts";
import type { Limits } from "./limits.ts";
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

/** A VM on the switch. */
export class Vm {
  /** One more with each HELLO: what began in an earlier one is over. */
  incarnation = 0;
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
