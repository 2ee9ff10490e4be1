/**
 * How the data plane wakes this thread: it writes a byte to a unix socket that the event loop watches. A call that
 * waits in another thread would cost two hand-overs more for each wake-up, and several times the latency.
 *
 * @module
 */

/** A bell: what rings it has one end of a unix socket, and this the other. */
export class Bell implements Disposable {
  readonly #bytes = new Uint8Array(64);

  private constructor(readonly conn: Deno.Conn) {}

  /**
   * Hang a bell. Its socket comes in at a path that only this user can reach, and that is gone when this returns.
   *
   * @param connect Has somebody connect to the path, once.
   * @throws {Error} when there is no room for temporary files, or no right to make any: the message says where. Or as `connect`.
   */
  static async hang<T>(connect: (path: Uint8Array<ArrayBuffer>) => T | Promise<T>): Promise<[Bell, T]> {
    const directory = await Deno.makeTempDir({ prefix: "csvn-" });
    try {
      const path = `${directory}/bell`;
      using listener = Deno.listen({ transport: "unix", path });
      const done = await connect(new TextEncoder().encode(path));
      return [new Bell(await listener.accept()), done];
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  }

  /** Wait until it is rung. @returns false: nobody is there any more who would. */
  async rung(): Promise<boolean> {
    try {
      return await this.conn.read(this.#bytes) !== null;
    } catch {
      return false;
    }
  }

  [Symbol.dispose](): void {
    try {
      this.conn.close();
    } catch {
      // It was closed before.
    }
  }
}
