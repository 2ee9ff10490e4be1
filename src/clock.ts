/**
 * Time, as something that is handed in: what waits, expires or is retried takes its time from a clock, so that a test can let a week go by
 * in a moment.
 *
 * @module
 */

/** Something that will happen. */
export interface Timer {
  /** It shall not happen. Once it has, or was cancelled, this does nothing. */
  cancel(): void;
}

/** Tells the time, and calls back later. */
export interface Clock {
  /** Milliseconds since some moment; it never goes backwards. */
  now(): number;
  /** Milliseconds since the epoch, for people: it may be set. */
  date(): number;
  /** Act once, after so many milliseconds. 0: in another turn of the event loop. */
  after(ms: number, act: () => void): Timer;
}

/** The system's own time. */
export const systemClock: Clock = {
  now: () => performance.now(),
  date: () => Date.now(),
  after: (ms, act) => {
    const timer = setTimeout(act, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};
