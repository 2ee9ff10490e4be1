/**
 * A bell that rings when a test says so.
 *
 * @module
 */

import type { Ringing } from "../../src/ffi/ports.ts";

/** A bell that the test rings. */
export class FakeBell implements Ringing {
  #rung = Promise.withResolvers<boolean>();

  async rung(): Promise<boolean> {
    const rung = await this.#rung.promise;
    if (rung) this.#rung = Promise.withResolvers();
    return rung;
  }

  ring(): void {
    this.#rung.resolve(true);
  }

  [Symbol.dispose](): void {
    this.#rung.resolve(false);
  }
}
