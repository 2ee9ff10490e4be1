/**
 * Circuit ids of one VM: a slot in the low 20 bits, a generation in the upper 12, so that a late doorbell for a circuit that is gone does not
 * find its successor. Slots are used again in the order in which they were freed.
 *
 * @module
 */

const SLOT_BITS = 20;
const GENERATIONS = 1 << (32 - SLOT_BITS);

/** Gives out circuit ids. */
export class IdAllocator {
  readonly #generations: number[] = [];
  #free: number[] = [];
  #freed: number[] = [];

  /** @param limit Ids that may be out at once, at most 2^20. */
  constructor(readonly limit: number) {}

  /** Are all out? */
  get isEmpty(): boolean {
    return this.#free.length + this.#freed.length === 0 && this.#generations.length >= this.limit;
  }

  /** A free id, or undefined when all are out. */
  take(): number | undefined {
    if (this.#free.length === 0) {
      this.#free = this.#freed.reverse();
      this.#freed = [];
    }
    let slot = this.#free.pop();
    if (slot === undefined) {
      if (this.#generations.length >= this.limit) return undefined;
      slot = this.#generations.length;
      this.#generations.push(0);
    }
    return (this.#generations[slot]! << SLOT_BITS | slot) >>> 0;
  }

  /** Give an id back. */
  give(id: number): void {
    const slot = id & ((1 << SLOT_BITS) - 1);
    this.#generations[slot] = (this.#generations[slot]! + 1) % GENERATIONS;
    this.#freed.push(slot);
  }
}
