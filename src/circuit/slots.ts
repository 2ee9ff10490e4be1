/**
 * The slots of an arena, and their memory between two circuits.
 *
 * Theory of operation. Every slot reads as zeros when it is taken, whoever had it before. There are two ways to get there. *Punching*
 * gives the pages back to the system: dear, since every process that has mapped them is interrupted, and whoever comes next faults them in again, but
 * several adjacent slots cost little more than one. *Wiping* writes zeros where there is memory, and leaves it in place: cheap where little of a slot was
 * used. So a closed slot is wiped at once and stays `warm`, for the next circuit; when there are enough of those it waits, `dirty` and out of
 * reach, to be punched together with others. The memory does not stay: {@linkcode Slots.trim} punches what was not needed since the last time.
 * Either takes its time, and until it is over a slot is nobody's; where it fails, it is nobody's for good.
 *
 * @module
 */

import { background } from "./background.ts";

/** What can be done to the memory of slots. Both leave zeros behind. */
export interface SlotMemory {
  /** Zero a slot in place, or punch it when it has too much memory for that. Whether it has memory now. */
  wipe(slot: number): Promise<boolean>;
  /** Give the memory of so many slots back to the system. */
  punch(first: number, count: number): Promise<void>;
  /** Told when one of these was rejected. */
  failed(error: unknown): void;
}

/** Slots that may wait to be punched. */
const DIRTY_MAX = 64;

/** Gives out slots. */
export class Slots {
  /** Free, zero, without memory. */
  #cold: number[] = [];
  /** Free, zero, with memory; the last one given back is the next one taken. */
  readonly #warm: number[] = [];
  /** Not free: there may be bytes of the last circuit in them. */
  #dirty: number[] = [];
  /** The first that was never taken. */
  #fresh = 0;
  /** Being wiped. */
  #wiping = 0;
  /** Being punched. */
  #punching = 0;
  #cleaned: PromiseWithResolvers<void> | undefined;
  /** The least that there were of the warm ones since they were last trimmed. */
  #unneeded = 0;

  /**
   * @param count How many there are.
   * @param warmMax How many of them may keep memory while they are free.
   */
  constructor(readonly count: number, readonly warmMax: number, readonly memory: SlotMemory) {}

  /** Is there something to {@linkcode trim}? */
  get trimmable(): boolean {
    return this.#warm.length + this.#wiping + this.#dirty.length > 0;
  }

  /** Resolves when some of those that are being zeroed may be free; undefined when none is. It never rejects. */
  get cleaning(): Promise<void> | undefined {
    if (this.#wiping + this.#punching === 0) return undefined;
    return (this.#cleaned ??= Promise.withResolvers()).promise;
  }

  /** A free slot, all zeros; undefined when there is none, or none is zero yet. */
  take(): number | undefined {
    const warm = this.#warm.pop();
    this.#unneeded = Math.min(this.#unneeded, this.#warm.length);
    if (warm !== undefined) return warm;
    if (this.#cold.length === 0 && this.#fresh < this.count) return this.#fresh++;
    if (this.#cold.length === 0) this.#clean();
    return this.#cold.pop();
  }

  /** Give a slot back. */
  give(slot: number): void {
    if (this.#warm.length + this.#wiping >= this.warmMax) {
      this.#dirty.push(slot);
      if (this.#dirty.length >= DIRTY_MAX) this.#clean();
      return;
    }
    this.#wiping++;
    const wiped = this.memory.wipe(slot).then((warm) => void (warm ? this.#warm : this.#cold).push(slot));
    this.#settle(wiped, () => this.#wiping--);
  }

  /** Punch what waits for it, and the warm slots that were not needed since the last time. */
  trim(): void {
    this.#clean();
    // Those at the bottom were not taken.
    this.#punch(this.#warm.splice(0, this.#unneeded));
    this.#unneeded = this.#warm.length;
  }

  #clean(): void {
    const dirty = this.#dirty;
    this.#dirty = [];
    this.#punch(dirty);
  }

  /** Punch slots, adjacent ones in one call; afterwards they are free. */
  #punch(slots: number[]): void {
    slots.sort((a, b) => a - b);
    for (let from = 0; from < slots.length;) {
      let to = from + 1;
      while (to < slots.length && slots[to] === slots[to - 1]! + 1) to++;
      this.#punchRange(slots[from]!, to - from);
      from = to;
    }
  }

  #punchRange(first: number, count: number): void {
    this.#punching += count;
    const punched = this.memory.punch(first, count).then(() => {
      for (let slot = first; slot < first + count; slot++) this.#cold.push(slot);
    });
    this.#settle(punched, () => this.#punching -= count);
  }

  #settle(zeroed: Promise<void>, over: () => void): void {
    background(
      zeroed.catch((error) => this.memory.failed(error)).finally(() => {
        over();
        this.#cleaned?.resolve();
        this.#cleaned = undefined;
      }),
    );
  }
}
