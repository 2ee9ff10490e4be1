import { delay } from "@std/async";

/** A machine that has much else to do takes its time; whoever waits ends early where it has not. */
const PATIENCE_MS = 120_000;

/**
 * Wait until something holds (is neither false, undefined nor 0), looking every millisecond.
 *
 * @throws {Error} when it does not within `ms` milliseconds.
 */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | null | 0 | Promise<T | undefined | false | null | 0>,
  ms = PATIENCE_MS,
): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain: ${what}`);
    await delay(1);
  }
}
