/**
 * Lines at the end of a file that may be full, or slow.
 *
 * Theory of operation. Lines wait in memory, within a bound, while one write is under way in the background; what has gathered meanwhile is
 * the next write. What does not fit within the bound, and what could not be written, is lost: how many lines is said by a line of
 * its own, in front of the next that are written.
 *
 * @module
 */

import { Errno, SystemError } from "../errno.ts";

/** Where bytes go: as {@linkcode Deno.FsFile}. */
export interface Sink {
  /** Writes some of the bytes. */
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

const WAITING_MAX = 4 << 20;

/** Open a file to be appended to: made with mode 0600 where it is not there. @throws {SystemError} */
export function appendTo(path: string): Sink {
  const fail = (errno: number): never => {
    throw new SystemError(`write to ${path}`, errno);
  };
  try {
    // A pipe would block until somebody reads.
    if (Deno.statSync(path).isFifo) return fail(Errno.EINVAL);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  try {
    return Deno.openSync(path, { append: true, create: true, mode: 0o600 });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return fail(Errno.ENOENT);
    if (error instanceof Deno.errors.PermissionDenied) return fail(Errno.EACCES);
    if (error instanceof Deno.errors.IsADirectory) return fail(Errno.EISDIR);
    throw error;
  }
}

/** Writes whole lines, in order. */
export class LineFile implements AsyncDisposable {
  #sink: Sink;
  #waiting: string[] = [];
  #characters = 0;
  #lost = 0;
  /** The file ends in the middle of a line. */
  #torn = false;
  #writing: Promise<void> | undefined;
  readonly #encoder = new TextEncoder();

  /**
   * @param open Opens the file, now and at each {@linkcode reopen}.
   * @param lostLine The line that says how many were lost.
   * @param limit Characters that may wait.
   */
  constructor(
    readonly open: () => Sink,
    readonly lostLine: (count: number) => string,
    readonly limit = WAITING_MAX,
  ) {
    this.#sink = open();
  }

  /** Write a line, without its line feed. Never waits, never throws. */
  write(line: string): void {
    if (this.#characters + line.length > this.limit) {
      this.#lost++;
      return;
    }
    this.#waiting.push(line);
    this.#characters += line.length;
    this.#writing ??= this.#run();
  }

  /** Open the file anew, as after it was moved away. What waits goes to the new one. @throws What `open` throws; the old one stays. */
  reopen(): void {
    const old = this.#sink;
    this.#sink = this.open();
    this.#torn = false;
    const close = (): void => old.close();
    if (this.#writing) this.#writing.then(close, close);
    else close();
  }

  /** Write what waits, and close the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    while (this.#writing) await this.#writing;
    this.#sink.close();
  }

  async #run(): Promise<void> {
    // What comes in the same turn is one write.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      this.#waiting = [];
      this.#characters = 0;
      const lost = this.#lost;
      this.#lost = 0;
      if (lost > 0) lines.unshift(this.lostLine(lost));
      if (!await this.#write(`${this.#torn ? "\n" : ""}${lines.join("\n")}\n`)) {
        this.#lost += lost + lines.length - (lost > 0 ? 1 : 0);
      }
    }
    this.#writing = undefined;
  }

  /** Whether all of it was written. */
  async #write(text: string): Promise<boolean> {
    const sink = this.#sink;
    let bytes = this.#encoder.encode(text);
    let some = this.#torn;
    try {
      while (bytes.length > 0) {
        bytes = bytes.subarray(await sink.write(bytes));
        some = true;
      }
    } catch {
      if (sink === this.#sink) this.#torn = some;
      return false;
    }
    if (sink === this.#sink) this.#torn = false;
    return true;
  }
}
