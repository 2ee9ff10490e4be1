/** A command that runs in a guest, seen from the host. */
import {
  CHUNK_BYTES,
  decodeExit,
  encodeFrame,
  encodeWindow,
  type Frame,
  FrameType,
  IN_WINDOW,
  type WindowSize,
  wordAt,
  words,
} from "./frames.ts";

/** How a command ended. */
export interface CommandStatus {
  /** Its exit status; 128 + signal if a signal ended it. */
  code: number;
  /** The number of the signal that ended it, or 0. */
  signal: number;
}

/** Bytes of one output stream that wait for the reader. */
class OutputStream {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>;
  #chunks: Uint8Array[] = [];
  #controller!: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  #wanted: (() => void) | undefined;
  #state: "open" | "ending" | "closed" = "open";
  readonly #credit: (bytes: number) => void;

  constructor(credit: (bytes: number) => void) {
    this.#credit = credit;
    this.readable = new ReadableStream({
      start: (controller): void => {
        this.#controller = controller;
      },
      // Resolves when there is a chunk: credit is given for what the reader
      // took, so what it leaves is bounded by the agent's window.
      pull: (): Promise<void> =>
        new Promise((resolve) => {
          this.#wanted = resolve;
          this.#deliver();
        }),
      cancel: (): void => {
        this.#state = "closed";
        for (const chunk of this.#chunks) this.#credit(chunk.length);
        this.#chunks = [];
      },
    }, { highWaterMark: 0 });
  }

  push(chunk: Uint8Array): void {
    if (this.#state === "closed") {
      this.#credit(chunk.length);
      return;
    }
    this.#chunks.push(chunk);
    this.#deliver();
  }

  end(): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    this.#deliver();
  }

  fail(error: Error): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#chunks = [];
    this.#controller.error(error);
    this.#wanted?.();
  }

  #deliver(): void {
    if (this.#chunks.length > 0) {
      if (this.#wanted === undefined) return;
      const chunk = this.#chunks.shift()!;
      this.#controller.enqueue(chunk as Uint8Array<ArrayBuffer>);
      this.#credit(chunk.length);
      this.#wanted();
      this.#wanted = undefined;
    }
    if (this.#chunks.length === 0 && this.#state === "ending") {
      this.#state = "closed";
      this.#controller.close();
      this.#wanted?.();
    }
  }
}

/** A command that runs in a guest. */
export class GuestCommand {
  /** Standard output; the terminal's output if there is one. */
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Standard error. A reader that stops reading stops the command. */
  readonly stderr: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Standard input; a write fails once the command has ended. */
  readonly stdin: WritableStream<Uint8Array>;
  /** How it ended; rejects if the guest went away first. */
  readonly status: Promise<CommandStatus>;

  readonly #id: number;
  readonly #send: (frame: Uint8Array) => Promise<void>;
  readonly #streams: [OutputStream, OutputStream];
  #settle: PromiseWithResolvers<CommandStatus>;
  #ended: Error | undefined;
  #unacknowledged = 0;
  #roomForInput: (() => void) | undefined;

  /** For the agent's client; use `Guest.spawn()`. */
  constructor(id: number, send: (frame: Uint8Array) => Promise<void>) {
    this.#id = id;
    // The far end's death reaches a command by fail(), not by its writes.
    this.#send = (frame) => send(frame).catch(() => {});
    const stream = (number: number): OutputStream =>
      new OutputStream((bytes) => {
        if (this.#ended) return;
        this.#send(encodeFrame(FrameType.credit, id, words(number, bytes)));
      });
    this.#streams = [stream(1), stream(2)];
    this.stdout = this.#streams[0].readable;
    this.stderr = this.#streams[1].readable;
    this.#settle = Promise.withResolvers();
    this.status = this.#settle.promise;
    this.status.catch(() => {}); // not everybody asks
    this.stdin = new WritableStream({
      write: (chunk): Promise<void> => this.#write(chunk),
      close: (): Promise<void> => this.#send(encodeFrame(FrameType.input, id)),
      abort: (): Promise<void> => this.#send(encodeFrame(FrameType.input, id)),
    });
  }

  /** Send a signal (default SIGKILL) to all processes of the command. */
  async kill(signal = 9): Promise<void> {
    if (this.#ended) return;
    await this.#send(encodeFrame(FrameType.kill, this.#id, words(signal)));
  }

  /** Tell the command's terminal its new size. */
  async resize(size: WindowSize): Promise<void> {
    if (this.#ended) return;
    await this.#send(
      encodeFrame(FrameType.window, this.#id, encodeWindow(size)),
    );
  }

  /** Take a frame of this command in; true if it was the last. */
  accept(frame: Frame): boolean {
    switch (frame.type) {
      case FrameType.output:
        this.#streams[0].push(frame.payload);
        return false;
      case FrameType.errors:
        this.#streams[1].push(frame.payload);
        return false;
      case FrameType.inputCredit:
        this.#unacknowledged -= wordAt(frame.payload, 0);
        this.#roomForInput?.();
        return false;
      case FrameType.exit: {
        const { kind, value } = decodeExit(frame.payload);
        if (kind === "not-started") {
          const error = new Error(
            `the agent could not start it: errno ${value}`,
          );
          this.fail(error);
          return true;
        }
        this.#ended = new Error("the command has ended");
        this.#roomForInput?.();
        for (const stream of this.#streams) stream.end();
        this.#settle.resolve(
          kind === "signal" ? { code: 128 + value, signal: value } : { code: value, signal: 0 },
        );
        return true;
      }
      default:
        throw new RangeError(`the agent sent a frame of type ${frame.type}`);
    }
  }

  /** The guest is gone: everything that waits gets this error. */
  fail(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#roomForInput?.();
    for (const stream of this.#streams) stream.fail(error);
    this.#settle.reject(error);
  }

  async #write(chunk: Uint8Array): Promise<void> {
    for (let offset = 0; offset < chunk.length; offset += CHUNK_BYTES) {
      const part = chunk.subarray(offset, offset + CHUNK_BYTES);
      while (!this.#ended && this.#unacknowledged + part.length > IN_WINDOW) {
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#roomForInput = resolve;
        await promise;
      }
      if (this.#ended) throw this.#ended;
      this.#unacknowledged += part.length;
      await this.#send(encodeFrame(FrameType.input, this.#id, part));
    }
  }
}
