/**
 * Who waits until a port has done what it was told.
 *
 * @module
 */

interface Awaited {
  readonly number: number;
  readonly resolve: () => void;
}

/** Those who wait for commands, by the commands' numbers. */
export class Acknowledgements {
  readonly #awaited: Awaited[] = [];

  /** The first number that is waited for. */
  get first(): number | undefined {
    return this.#awaited[0]?.number;
  }

  /** Wait for a command, whose number is not below the last one's. */
  of(number: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#awaited.push({ number, resolve });
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

  /** Nobody does any more of them. */
  over(): void {
    for (const { resolve } of this.#awaited.splice(0)) resolve();
  }
}
