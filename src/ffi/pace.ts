/**
 * How often somebody may come.
 *
 * @module
 */

import type { Clock, Timer } from "../clock.ts";

/** So many at once, then one in so many milliseconds. */
export interface PaceLimits {
  readonly burst: number;
  readonly ms: number;
}

/** Lets one after the other have its turn. */
export class Pace implements Disposable {
  /** When the next may come, if there was nobody for a while. */
  #due = -Infinity;
  readonly #waiting = new Map<Timer, () => void>();
  #disposed = false;

  constructor(readonly clock: Clock, readonly limits: PaceLimits) {}

  /** Wait for one's turn. Nobody waits any more when it is disposed. */
  async turn(): Promise<void> {
    const now = this.clock.now();
    const at = Math.max(this.#due, now - (this.limits.burst - 1) * this.limits.ms);
    this.#due = at + this.limits.ms;
    if (at <= now || this.#disposed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.clock.after(at - now, () => {
      this.#waiting.delete(timer);
      resolve();
    });
    this.#waiting.set(timer, resolve);
    await promise;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const [timer, resolve] of this.#waiting) {
      timer.cancel();
      resolve();
    }
    this.#waiting.clear();
  }
}
