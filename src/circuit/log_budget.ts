/**
 * How many lines of the log somebody may cause who can cause as many as they like: so many at once, and per second in the long run. What is left out is counted,
 * and told with the next line that is told, or after a while without one.
 *
 * @module
 */

import type { Clock, Timer } from "../clock.ts";

/** How much is told of each. */
export interface LogRate {
  /** At once. */
  readonly burst: number;
  /** In the long run. */
  readonly perSecond: number;
  /** Milliseconds after which it is said how many were left out, when none is told meanwhile. */
  readonly summaryMs: number;
}

/** Those who have not caused anything for a while are forgotten when there are more than this. */
const KNOWN_MAX = 1024;

/** What of one of them may still be told. */
interface Bucket {
  tokens: number;
  /** When they were counted, in milliseconds. */
  at: number;
  leftOut: number;
}

/** Who causes what the host's network does to a VM: it must not use up what the VM has. */
export function fromHost(vm: string): string {
  return `host to ${vm}`;
}

/** A bucket of tokens for each who causes lines. Disposing it tells what is left out. */
export class LogBudget implements Disposable {
  readonly #buckets = new Map<string, Bucket>();
  #timer: Timer | undefined;

  /** @param leftOut Told how many of somebody's lines were left out, before the next one is told. */
  constructor(
    readonly rate: LogRate,
    readonly clock: Clock,
    readonly leftOut: (who: string, count: number) => void,
  ) {}

  /** May another line that somebody causes be told? If not, it is counted. */
  take(who: string): boolean {
    const bucket = this.#bucket(who);
    if (bucket.tokens < 1) {
      bucket.leftOut++;
      this.#timer ??= this.clock.after(this.rate.summaryMs, () => this.#tellAll());
      return false;
    }
    bucket.tokens--;
    this.#tell(who, bucket);
    return true;
  }

  [Symbol.dispose](): void {
    this.#tellAll();
    this.#buckets.clear();
  }

  #bucket(who: string): Bucket {
    const now = this.clock.now();
    const known = this.#buckets.get(who);
    if (known) {
      this.#fill(known, now);
      return known;
    }
    if (this.#buckets.size >= KNOWN_MAX) this.#forget(now);
    const bucket = { tokens: this.rate.burst, at: now, leftOut: 0 };
    this.#buckets.set(who, bucket);
    return bucket;
  }

  #fill(bucket: Bucket, now: number): void {
    const { burst, perSecond } = this.rate;
    bucket.tokens = Math.min(burst, bucket.tokens + (now - bucket.at) * perSecond / 1000);
    bucket.at = now;
  }

  #forget(now: number): void {
    for (const [who, bucket] of this.#buckets) {
      this.#fill(bucket, now);
      if (bucket.tokens >= this.rate.burst && bucket.leftOut === 0) this.#buckets.delete(who);
    }
  }

  #tellAll(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const [who, bucket] of this.#buckets) this.#tell(who, bucket);
  }

  #tell(who: string, bucket: Bucket): void {
    const { leftOut } = bucket;
    bucket.leftOut = 0;
    if (leftOut > 0) this.leftOut(who, leftOut);
  }
}
