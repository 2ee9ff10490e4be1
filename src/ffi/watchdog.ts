/**
 * Whether somebody does what it was told.
 *
 * @module
 */

import type { Clock, Timer } from "../clock.ts";

/** Milliseconds between two looks. */
const LOOK_MS = 2000;
/** So many looks in a row that find nothing done are one too many. One that comes late counts once, so that a machine that stood still is not taken for it. */
const LOOKS = 5;

/** Seconds for which nothing may be done. */
export const STUCK_S: number = LOOK_MS * LOOKS / 1000;

/** Who is watched. */
export interface Watched {
  /** How much it has done. */
  done(): number;
  /** Has it done all that it was told? */
  idle(): boolean;
  /** It has done nothing for {@linkcode STUCK_S}. It is told once, and watched no longer. */
  stuck(): void;
}

/** Looks at one that was told something, until it has done that. */
export class Watchdog implements Disposable {
  #timer: Timer | undefined;
  /** When that was looked at last. */
  #done = 0;
  #vain = 0;
  #disposed = false;

  constructor(readonly clock: Clock, readonly watched: Watched) {}

  /** Was it told something of which it is not known that it is done? */
  get watches(): boolean {
    return this.#timer !== undefined;
  }

  /** It is told something. */
  told(): void {
    if (this.#timer || this.#disposed) return;
    this.#done = this.watched.done();
    this.#vain = 0;
    this.#wait();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #wait(): void {
    this.#timer = this.clock.after(LOOK_MS, () => this.#look());
  }

  #look(): void {
    this.#timer = undefined;
    const done = this.watched.done();
    if (this.watched.idle()) return;
    this.#vain = done > this.#done ? 0 : this.#vain + 1;
    this.#done = done;
    if (this.#vain < LOOKS) return this.#wait();
    this[Symbol.dispose]();
    this.watched.stuck();
  }
}
