/**
 * Ports that have nothing to do are asked for a sign of life: a port that is stuck is to be noticed also where nobody wants anything of it.
 *
 * Each costs a wake-up of a process, so the pace is bounded for the host as a whole: each port is asked every {@linkcode BEAT_MS}, but all together not more often than
 * {@linkcode BEATS_A_TICK} in {@linkcode TICK_MS}. They are asked in turn, a few at a time, by one timer: so that neither all wake at once, nor each has a timer.
 *
 * @module
 */

import type { Clock, Timer } from "../clock.ts";

/** Milliseconds from one time that a port is asked to the next. */
const BEAT_MS = 5000;
/** Milliseconds between two ticks, at least. */
const TICK_MS = 100;
/** So many are asked at a tick, at most: 50 in a second. With more than 250 ports each is asked less often. */
const BEATS_A_TICK = 5;

/** Who can be asked. */
export interface Being {
  /** Ask it, unless it is watched anyway. */
  beat(): void;
}

/** Asks all of a set, whoever is in it then, until it is disposed. */
export class Heartbeat implements Disposable {
  #timer: Timer | undefined;
  /** Those that have not had their turn. */
  #turn: Iterator<Being>;
  /** Parts of one, that are due: a tick asks whole ones. */
  #due = 0;

  constructor(readonly clock: Clock, readonly beings: ReadonlyMap<unknown, Being>) {
    this.#turn = beings.values();
  }

  /** There is somebody, or one more. */
  begin(): void {
    this.#timer ??= this.#wait();
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #wait(): Timer | undefined {
    const { size } = this.beings;
    if (size === 0) return undefined;
    const ms = Math.max(TICK_MS, BEAT_MS / size);
    this.#due = Math.min(BEATS_A_TICK, this.#due + size * ms / BEAT_MS);
    return this.clock.after(ms, () => {
      for (; this.#due >= 1; this.#due--) this.#next()?.beat();
      this.#timer = this.#wait();
    });
  }

  #next(): Being | undefined {
    for (let tries = 0; tries < 2; tries++) {
      const next = this.#turn.next();
      if (!next.done) return next.value;
      this.#turn = this.beings.values();
    }
    return undefined;
  }
}
