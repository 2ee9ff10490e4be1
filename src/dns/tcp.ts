/**
 * Messages over TCP: each with its length in front, in two bytes (RFC 7766).
 *
 * @module
 */

import { type Clock, systemClock } from "../clock.ts";

/** A connection that carries messages. Whoever is too slow loses it. */
export class MessageConnection implements Disposable {
  #closed = false;

  /** @param ms Milliseconds that a whole message may take, either way; undefined: whoever has it closes it in time. */
  constructor(readonly connection: Deno.Conn, readonly ms: number | undefined, readonly clock: Clock = systemClock) {}

  /**
   * Read a message.
   *
   * @param max Bytes that it may have.
   * @returns undefined at the end, and when the message is too long, cut short or too slow.
   */
  read(max: number): Promise<Uint8Array | undefined> {
    return this.#timed(async () => {
      const length = await this.#fill(new Uint8Array(2));
      if (!length) return undefined;
      const bytes = length[0]! << 8 | length[1]!;
      return bytes > max ? undefined : await this.#fill(new Uint8Array(bytes));
    });
  }

  /**
   * Write a message.
   *
   * @returns whether all of it was taken.
   */
  async write(message: Uint8Array): Promise<boolean> {
    const framed = new Uint8Array(2 + message.length);
    framed[0] = message.length >> 8;
    framed[1] = message.length & 0xff;
    framed.set(message, 2);
    const written = await this.#timed(async () => {
      for (let n = 0; n < framed.length;) n += await this.connection.write(framed.subarray(n));
      return true;
    });
    return written === true;
  }

  /** Close it; what is being read or written ends. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.connection.close();
  }

  async #fill(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array | undefined> {
    for (let n = 0; n < bytes.length;) {
      const more = await this.connection.read(bytes.subarray(n));
      if (more === null) return undefined;
      n += more;
    }
    return bytes;
  }

  async #timed<T>(work: () => Promise<T>): Promise<T | undefined> {
    const timer = this.ms === undefined ? undefined : this.clock.after(this.ms, () => this[Symbol.dispose]());
    try {
      return await work();
    } catch {
      // Closed, by us or by the other end: there is nothing to be said to anyone.
      return undefined;
    } finally {
      timer?.cancel();
    }
  }
}
