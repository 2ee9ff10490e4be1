/**
 * Two ends of a circuit that go on exchanging bytes and doorbells, while something happens to others.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { FakeCircuit } from "./fake_circuit.ts";
import { until } from "./until.ts";

const BYTES = 3000;

/** Read so many bytes, after having slept until the doorbell has come for them. */
async function sleepAndRead(end: FakeCircuit, act: () => void): Promise<Uint8Array> {
  const { wakes } = end.driver;
  end.arm();
  act();
  await until("the wake-up", () => {
    const at = wakes.indexOf(end.id);
    if (at >= 0) wakes.splice(at, 1);
    return at >= 0;
  });
  return end.read();
}

/** An exchange that goes on until it is disposed, which is before its drivers are. */
export class Talk implements AsyncDisposable {
  /** How often bytes went there and back. */
  turns = 0;
  #going = true;
  readonly #loop: Promise<void>;

  constructor(readonly here: FakeCircuit, readonly there: FakeCircuit) {
    this.#loop = this.#run();
    // Whoever stops it is told.
    this.#loop.catch(() => {});
  }

  /** @throws {Error} when bytes or doorbells were lost. */
  async stop(): Promise<void> {
    this.#going = false;
    await this.#loop;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#going = false;
    await this.#loop.catch(() => {});
  }

  async #run(): Promise<void> {
    const send = (end: FakeCircuit, bytes: Uint8Array) => (): void => {
      assertEquals(end.write(bytes), bytes.length);
      end.ringIfAsked();
    };
    for (; this.#going; this.turns++) {
      const bytes = crypto.getRandomValues(new Uint8Array(BYTES));
      const there = await sleepAndRead(this.there, send(this.here, bytes));
      assertEquals(there, bytes);
      assertEquals(await sleepAndRead(this.here, send(this.there, there)), bytes);
    }
  }
}
