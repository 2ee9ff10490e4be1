/**
 * Long work in pieces: so much in the turn in which it comes, the rest in turns of its own, so that nobody else waits for it.
 *
 * @module
 */

import type { Clock, Timer } from "../clock.ts";

/** Does things in their order, a number of them in a turn. */
export class Chunks<T> {
  #waiting: T[] = [];
  /** The first of those that wait. */
  #at = 0;
  #timer: Timer | undefined;
  #acting = false;

  /** @param size How many are done in one turn. */
  constructor(readonly clock: Clock, readonly size: number, readonly act: (item: T) => void) {}

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.length - this.#at;
  }

  /** Do these: as many at once as one turn may have, when no others wait. What comes of doing one may add more. */
  add(items: readonly T[]): void {
    for (const item of items) this.#waiting.push(item);
    if (!this.#timer && !this.#acting) this.#turn(this.size);
  }

  /** Do all that waits, at once. */
  finish(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    while (this.waiting > 0) this.#turn(Infinity);
  }

  #turn(size: number): void {
    this.#acting = true;
    try {
      for (let n = 0; n < size && this.waiting > 0; n++) this.act(this.#waiting[this.#at++]!);
    } finally {
      this.#acting = false;
      // An exception costs what it came from, not what waits behind it.
      this.#timer = this.waiting > 0 ? this.clock.after(0, () => this.#turn(this.size)) : undefined;
      if (this.waiting === 0) {
        this.#waiting = [];
        this.#at = 0;
      }
    }
  }
}
