/** Fetching again when the mirror is away for a moment. */
import { delay } from "@std/async";
import { tailOf } from "./process.ts";
import { type Progress, stderrProgress } from "./progress.ts";

/** Waits between tries, in milliseconds: a mirror that is away for some minutes costs a wait, not a run. */
const WAITS_MS: readonly number[] = [10_000, 20_000, 40_000, 60_000, 60_000];
/** Lines of a log that are looked at. */
const LINES = 200;

/** What apt, mmdebstrap and npm say when it is the network, or a mirror that is just being updated. */
const PASSING =
  /Could not (?:connect|resolve)|Temporary failure|[Cc]onnection (?:timed out|refused|failed|reset)|Unable to connect|Network is unreachable|Failed to fetch|Hash Sum mismatch|File has unexpected size|\b(?:ETIMEDOUT|ECONNRESET|ECONNREFUSED|ENETUNREACH|EAI_AGAIN)\b|\b50[0-4] /;

/** Does the end of a log say that it may work later? */
export function isPassing(log: string): boolean {
  return PASSING.test(log) && !/Unable to locate package|No space left on device/.test(log);
}

/** What may be handed in by tests. */
export interface RetryOptions {
  progress?: Progress;
  waits?: readonly number[];
  pause?: (ms: number) => Promise<void>;
}

/**
 * Do something that fetches, whose output goes to `log`; again, after a while and with a line that says so, while the log says that the
 * mirror is away. What cannot be helped by waiting fails at once.
 *
 * @param before Makes room for the next try.
 */
export async function fetching<T>(
  what: string,
  log: string,
  act: () => Promise<T>,
  before: () => Promise<void> = () => Promise.resolve(),
  { progress = stderrProgress, waits = WAITS_MS, pause = delay }: RetryOptions = {},
): Promise<T> {
  for (const wait of waits) {
    try {
      return await act();
    } catch (error) {
      if (!isPassing(await tailOf(log, LINES))) throw error;
      progress(`${what}: the mirror does not answer as it should; once more in ${wait / 1000} s (log: ${log})`);
      await pause(wait);
      await before();
    }
  }
  return await act();
}
