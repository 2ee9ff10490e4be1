/**
 * Time that goes by when a test says so.
 *
 * @module
 */

import type { Clock, Timer } from "../../src/clock.ts";

interface Pending {
  readonly at: number;
  readonly order: number;
  readonly act: () => void;
}

/** Let all that is due without a timer happen. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve();
}

/** A clock that stands still but in {@linkcode FakeClock.pass}. */
export class FakeClock implements Clock {
  #now = 0;
  #order = 0;
  readonly #pending = new Set<Pending>();

  now(): number {
    return this.#now;
  }

  date(): number {
    return Date.UTC(2026, 0, 1) + this.#now;
  }

  after(ms: number, act: () => void): Timer {
    if (!(ms >= 0)) throw new Error(`a timer of ${ms} ms`);
    const timer = { at: this.#now + ms, order: this.#order++, act };
    this.#pending.add(timer);
    return { cancel: () => void this.#pending.delete(timer) };
  }

  /** Timers that have neither come nor been cancelled. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Let time go by: what is due happens in its order, and what follows from it at the same moment. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (let next = this.#next(end); next; next = this.#next(end)) {
      this.#pending.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.act();
      await settle();
    }
    this.#now = end;
  }

  /** The machine stands still, and time does not: what was due meanwhile comes late, once that is looked at. */
  jump(ms: number): void {
    this.#now += ms;
  }

  #next(end: number): Pending | undefined {
    let first: Pending | undefined;
    for (const timer of this.#pending) {
      if (timer.at > end) continue;
      if (!first || timer.at < first.at || (timer.at === first.at && timer.order < first.order)) first = timer;
    }
    return first;
  }
}
