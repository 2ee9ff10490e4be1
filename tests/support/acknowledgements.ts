/**
 * When a fake of the data plane says that it has let go of something.
 *
 * @module
 */

/** Acknowledgements, given at once or when a test says so. */
export class Acknowledgements {
  /** They wait until {@linkcode release} is called. */
  held = false;
  readonly #waiting: (() => void)[] = [];

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Something was asked for: `act` happens when it is done. */
  give(act: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = (): void => {
      act();
      resolve();
    };
    if (this.held) this.#waiting.push(done);
    else done();
    return promise;
  }

  /** Give so many of those that wait, in their order. */
  release(count = Infinity): void {
    for (const done of this.#waiting.splice(0, count)) done();
  }
}
