/**
 * An arena: the memory that the circuits between two VMs share, cut into slots of one circuit each.
 *
 * @module
 */

import type { ArenaEnd } from "./arena_end.ts";
import type { HostArena } from "./host.ts";
import type { Limits } from "./limits.ts";
import type { ArenaMemory } from "./plane.ts";
import { encodeArenaHeader, type Extents } from "./records.ts";
import { Slots } from "./slots.ts";
import type { Vm } from "./vm.ts";

const PAGE = 4096;

/** What an arena is in, one after the other, though one may be left out:
 * - `opening`: its ends are being opened;
 * - `open`: circuits may be set up in it;
 * - `abandoned`: what was used of it cannot be zeroed: nothing new is put in;
 * - `revoked`: policy has cut all that was in it: nothing new is put in;
 * - `retiring`: its ends are being closed; it ends with the last of them.
 */
export type ArenaState = "opening" | "open" | "abandoned" | "revoked" | "retiring";

const order: readonly ArenaState[] = ["opening", "open", "abandoned", "revoked", "retiring"];

/** What free slots may keep of their memory. */
export type WarmLimits = Pick<Limits, "warmSlots" | "warmSlotBytes">;

/** Bytes of a slot: two control pages and two rings. */
export function slotBytes(ringBytes: number): number {
  return 2 * PAGE + 2 * ringBytes;
}

/** The memory of an arena, its slots, and its ends: two VMs', or one's when it talks to itself or to the host's stack. */
export class Arena implements Disposable {
  readonly nonce: bigint;
  /** Circuits in it now. */
  circuits = 0;
  /** Those of them that policy has cut. */
  cut = 0;
  /** What it is in. */
  #state: ArenaState = "opening";
  /** For those for circuits to the host's stack: where that has it mapped, once it has. */
  host: HostArena | undefined;
  /** Told that something of it could not be zeroed. */
  failed: (error: unknown) => void = () => {};
  readonly #slots: Slots;

  /**
   * @param number Running number, for the log.
   * @param ringBytes Bytes of each ring in it.
   * @param warm What free slots may keep of their memory.
   * @param forHost Its other end is the host's stack.
   */
  constructor(
    readonly number: number,
    readonly memory: ArenaMemory,
    readonly ringBytes: number,
    readonly ends: readonly ArenaEnd[],
    warm: WarmLimits,
    readonly forHost = false,
  ) {
    const bytes = slotBytes(ringBytes);
    this.#slots = new Slots(Math.floor((memory.length - PAGE) / bytes), warm.warmSlots, {
      wipe: async (slot) => await memory.wipe(PAGE + slot * bytes, bytes, warm.warmSlotBytes) > 0,
      punch: async (first, count) => void await memory.wipe(PAGE + first * bytes, count * bytes, 0),
      failed: (error) => this.failed(error),
    });
    this.nonce = crypto.getRandomValues(new BigUint64Array(1))[0]!;
    memory.stamp(encodeArenaHeader(this.nonce, memory.length, ringBytes));
  }

  /** How many circuits there is room for. */
  get slotCount(): number {
    return this.#slots.count;
  }

  /** What it is in. */
  get state(): ArenaState {
    return this.#state;
  }

  /** Go on to a later state. */
  become(state: ArenaState): void {
    if (order.indexOf(state) < order.indexOf(this.#state)) throw new Error(`an arena cannot go back to ${state}`);
    this.#state = state;
  }

  /** May circuits be set up in it? */
  get usable(): boolean {
    return this.#state === "open" && this.ends.every((end) => end.state === "visible");
  }

  /** The end of a VM. */
  endOf(vm: Vm): ArenaEnd | undefined {
    return this.ends.find((end) => end.vm === vm);
  }

  /** Resolves when one of the slots that are being zeroed may be free; undefined when none is. It never rejects. */
  get cleaning(): Promise<void> | undefined {
    return this.#slots.cleaning;
  }

  /** A free slot, or undefined when there is none. Its pages read as zeros. */
  takeSlot(): number | undefined {
    const slot = this.#slots.take();
    if (slot !== undefined) this.circuits++;
    return slot;
  }

  /** Give a slot back. It is free once it is zeroed; its pages go back to the system by and by, see {@linkcode trim}. */
  giveSlot(slot: number): void {
    this.circuits--;
    this.#slots.give(slot);
  }

  /**
   * Give the pages of free slots back that were not needed since the last call: all of them after two calls between which nothing happens.
   *
   * @returns Whether it is to be called again.
   */
  trim(): boolean {
    this.#slots.trim();
    return this.#slots.trimmable;
  }

  /** Give all pages back: nobody can see them any more. */
  empty(): void {
    this.memory.wipe(PAGE, this.memory.length - PAGE, 0).catch((error) => this.failed(error));
  }

  /**
   * Where a slot's circuit lies, for one of its sides.
   *
   * @param side 0 for the side that connected, 1 for the one that accepted.
   */
  extents(slot: number, side: 0 | 1, arena: number): Extents {
    const base = PAGE + slot * slotBytes(this.ringBytes);
    const controls = [base, base + PAGE] as const;
    const rings = [base + 2 * PAGE, base + 2 * PAGE + this.ringBytes] as const;
    const other = side === 0 ? 1 : 0;
    return {
      arena,
      ringSize: this.ringBytes,
      ownControl: controls[side],
      peerControl: controls[other],
      txRing: rings[side],
      rxRing: rings[other],
    };
  }

  [Symbol.dispose](): void {
    this.host?.[Symbol.dispose]();
    this.memory[Symbol.dispose]();
  }
}
