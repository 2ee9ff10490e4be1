/**
 * Writing lines to a stream that may be full: a pipe whose reader is slow must neither stop the switch nor cost it its log.
 *
 * Theory of operation. A line is written at once where that is possible. What the stream does not take waits here, within a bound, and is tried
 * again soon; beyond the bound lines are left out, and their number is written in their place.
 *
 * @module
 */

/** What lines are written to: as `Deno.stderr`. */
export interface Sink {
  /** Writes some of the bytes; throws {@linkcode Deno.errors.WouldBlock} when it takes none. */
  writeSync(bytes: Uint8Array): number;
}

const WAITING_MAX = 1 << 20;
const RETRY_MS = 20;

/** Writes whole lines, in order. */
export class LogWriter {
  #waiting: Uint8Array[] = [];
  #bytes = 0;
  #lost = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #encoder = new TextEncoder();

  /** @param limit Bytes that may wait. */
  constructor(readonly sink: Sink, readonly limit = WAITING_MAX) {}

  /** Write a line, or several; each with its line feed. */
  write(text: string): void {
    if (this.#bytes + text.length > this.limit) {
      this.#lost++;
      return;
    }
    this.#enqueue(text);
    if (this.#timer === undefined) this.#flush();
  }

  /** Try once more, and wait for nothing. */
  close(): void {
    this.#flush();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #enqueue(text: string): void {
    const bytes = this.#encoder.encode(text);
    this.#waiting.push(bytes);
    this.#bytes += bytes.length;
  }

  #flush(): void {
    this.#timer = undefined;
    while (this.#waiting.length > 0) {
      const [first] = this.#waiting;
      const written = this.#tryWrite(first!);
      if (written === undefined) break;
      this.#bytes -= written;
      if (written < first!.length) this.#waiting[0] = first!.subarray(written);
      else this.#waiting.shift();
      if (this.#waiting.length === 0 && this.#lost > 0) {
        const lost = this.#lost;
        this.#lost = 0;
        this.#enqueue(`csvn: ${lost} lines of the log were left out, since they were not read in time\n`);
      }
    }
    if (this.#waiting.length > 0 && this.#timer === undefined) {
      this.#timer = setTimeout(() => this.#flush(), RETRY_MS);
      Deno.unrefTimer(this.#timer as unknown as number);
    }
  }

  /** Bytes written; undefined when the stream is full. A stream that is gone takes everything. */
  #tryWrite(bytes: Uint8Array): number | undefined {
    try {
      return this.sink.writeSync(bytes);
    } catch (error) {
      return error instanceof Deno.errors.WouldBlock ? undefined : bytes.length;
    }
  }
}
