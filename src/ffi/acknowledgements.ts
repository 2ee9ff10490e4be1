/**
 * Who waits until a port has done what it was told.
 *
 * @module
 */

interface Awaited {
  readonly number: number;
  readonly resolve: () => void;
  /** Is it enough that the port was killed? */
  readonly orKilled: boolean;
}

/** Those who wait for commands, by the commands' numbers. */
export class Acknowledgements {
  #awaited: Awaited[] = [];

  /** The first number that is waited for. */
  get first(): number | undefined {
    return this.#awaited[0]?.number;
  }

  /** Wait for a command, whose number is not below the last one's. @param orKilled Is it enough that the port was killed? */
  of(number: number, orKilled: boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#awaited.push({ number, resolve, orKilled });
    return promise;
  }

  /** So many commands are done. */
  done(count: number): void {
    // There may be thousands that wait, and mostly few that are done.
    let resolved = 0;
    for (const { number, resolve } of this.#awaited) {
      if (number >= count) break;
      resolve();
      resolved++;
    }
    this.#awaited.splice(0, resolved);
  }

  /** The port was killed. */
  killed(): void {
    const awaited = this.#awaited;
    this.#awaited = awaited.filter(({ orKilled }) => !orKilled);
    for (const { resolve, orKilled } of awaited) if (orKilled) resolve();
  }

  /** The port is over. */
  over(): void {
    for (const { resolve } of this.#awaited.splice(0)) resolve();
  }
}
