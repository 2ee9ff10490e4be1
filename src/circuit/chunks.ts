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

  /** @param size How many are done in one turn. */
  constructor(readonly clock: Clock, readonly size: number, readonly act: (item: T) => void) {}

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.length - this.#at;
  }

  /** Do these: as many at once as one turn may have, when no others wait. */
  add(items: readonly T[]): void {
    for (const item of items) this.#waiting.push(item);
    if (!this.#timer) this.#turn();
  }

  /** Do all that waits, at once. */
  finish(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    while (this.waiting > 0) this.#some();
  }

  #turn(): void {
    // First: an exception costs what it came from, not what waits behind it.
    this.#timer = this.waiting > this.size ? this.clock.after(0, () => this.#turn()) : undefined;
    this.#some();
  }

  #some(): void {
    for (let n = Math.min(this.size, this.waiting); n > 0; n--) this.act(this.#waiting[this.#at++]!);
    if (this.waiting > 0) return;
    this.#waiting = [];
    this.#at = 0;
  }
}
