/**
 * When the fakes of ports say that they have done something.
 *
 * @module
 */

/** The acknowledgements of one port, in their order: given at once, or when a test says so. */
export class Acknowledgements {
  /** They wait until {@linkcode release} is called. */
  held = false;
  readonly #waiting: (() => void)[] = [];

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Something was asked for: `act` happens when it is done, never before what was asked for earlier. */
  give(act: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = (): void => {
      act();
      resolve();
    };
    if (this.held || this.#waiting.length > 0) this.#waiting.push(done);
    else done();
    return promise;
  }

  /** Give so many of those that wait, in their order. */
  release(count = Infinity): void {
    for (const done of this.#waiting.splice(0, count)) done();
  }
}

/** Those of all ports. */
export class AllAcknowledgements {
  readonly #ports = new Set<Acknowledgements>();
  #held = false;

  /** A port more. */
  port(): Acknowledgements {
    const port = new Acknowledgements();
    port.held = this.#held;
    this.#ports.add(port);
    return port;
  }

  /** They wait until {@linkcode release} is called. */
  get held(): boolean {
    return this.#held;
  }

  set held(held: boolean) {
    this.#held = held;
    for (const port of this.#ports) port.held = held;
  }

  /** How many wait. */
  get waiting(): number {
    return [...this.#ports].reduce((sum, port) => sum + port.waiting, 0);
  }

  /** Give so many of each port's. */
  release(count = Infinity): void {
    for (const port of this.#ports) port.release(count);
  }
}
