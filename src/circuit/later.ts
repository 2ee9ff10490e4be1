/**
 * Doing something after a while.
 *
 * @module
 */

/** Calls `act` once, after so many milliseconds, unless what it returns is disposed before. */
export type Later = (ms: number, act: () => void) => Disposable;

/** By the system's timers. */
export const later: Later = (ms, act) => {
  const timer = setTimeout(act, ms);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
};
