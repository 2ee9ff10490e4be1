/**
 * How the data plane wakes this thread: it writes a byte to a unix socket that the event loop watches. A call that
 * waits in another thread would cost two hand-overs more for each wake-up, and several times the latency.
 *
 * @module
 */

import { checked } from "../errno.ts";
import type { Library } from "./library.ts";

/** A data plane's bell. */
export class Bell implements Disposable {
  readonly #byte = new Uint8Array(1);

  private constructor(readonly symbols: Library["symbols"], readonly plane: number, readonly conn: Deno.Conn) {}

  /**
   * Give a data plane its bell. It comes in by a socket that only this user can reach, and that is gone when this returns.
   *
   * @throws {SystemError} EEXIST when it has one.
   * @throws {Error} when there is no room for temporary files, or no right to make any: the message says where.
   */
  static async hang(symbols: Library["symbols"], plane: number): Promise<Bell> {
    const directory = await Deno.makeTempDir({ prefix: "csvn-" });
    try {
      const path = `${directory}/bell`;
      using listener = Deno.listen({ transport: "unix", path });
      const bytes = new TextEncoder().encode(path);
      checked("reach the data plane", symbols.csvn_events_bell(plane, bytes, bytes.length));
      return new Bell(symbols, plane, await listener.accept());
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  }

  /** Wait until the plane has events, or is told to wake us; at once when it has some. */
  async rung(): Promise<void> {
    if (checked("wait for events", this.symbols.csvn_events_park(this.plane)) === 1) await this.conn.read(this.#byte);
  }

  [Symbol.dispose](): void {
    this.conn.close();
  }
}
