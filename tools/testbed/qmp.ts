/** A client of QEMU's machine protocol (QMP): JSON, one object per line. */
import { deadline } from "@std/async";

/** How long QEMU may take to answer, in milliseconds. */
const REPLY_TIMEOUT_MS = 60_000;

/** Something that QEMU tells by itself. */
export interface QmpEvent {
  /** Its name, such as `RESET`. */
  event: string;
  /** Its details. */
  data: Record<string, unknown>;
}

/** QEMU refused a command. */
export class QmpError extends Error {
  /** Tells it from other errors. */
  override name = "QmpError";
}

interface Message {
  QMP?: unknown;
  event?: string;
  data?: Record<string, unknown>;
  id?: number;
  return?: unknown;
  error?: { class: string; desc: string };
}

/** One connection to a QEMU. */
export class Qmp {
  /** Resolves when the connection is closed and its reader has stopped. */
  readonly closed: Promise<void>;
  readonly #conn: Deno.Conn;
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #onEvent: (event: QmpEvent) => void;
  readonly #explain: (error: Error) => Promise<Error>;
  #nextId = 1;
  #error: Error | undefined;

  /**
   * Speak to the QEMU at the end of this connection. When that breaks,
   * `explain` turns the error into the one that callers get.
   */
  constructor(
    conn: Deno.Conn,
    onEvent: (event: QmpEvent) => void,
    explain: (error: Error) => Promise<Error> = (error) => Promise.resolve(error),
  ) {
    this.#conn = conn;
    this.#explain = explain;
    this.#onEvent = onEvent;
    this.closed = this.#read();
  }

  /** Leave the negotiation mode that every connection starts in. */
  async negotiate(): Promise<void> {
    await this.execute("qmp_capabilities");
  }

  /**
   * Run a command; what it returns.
   *
   * Throws {@link QmpError} if QEMU refuses it, a TimeoutError if QEMU's main
   * loop hangs (a switch that does not answer makes it hang).
   */
  async execute(
    command: string,
    args: Record<string, unknown> = {},
  ): Promise<unknown> {
    if (this.#error) throw this.#error;
    const id = this.#nextId++;
    const reply = Promise.withResolvers<unknown>();
    this.#pending.set(id, reply);
    try {
      const line = JSON.stringify({ execute: command, arguments: args, id });
      const bytes = new TextEncoder().encode(`${line}\n`);
      for (let sent = 0; sent < bytes.length;) {
        sent += await this.#conn.write(bytes.subarray(sent));
      }
      return await deadline(reply.promise, REPLY_TIMEOUT_MS);
    } finally {
      this.#pending.delete(id);
    }
  }

  /** Close; commands that wait for an answer get this error. */
  fail(error: Error): void {
    if (this.#error) return;
    this.#error = error;
    for (const reply of this.#pending.values()) {
      reply.promise.catch(() => {});
      reply.reject(error);
    }
    this.#conn.close();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(16 * 1024);
    let text = "";
    try {
      for (;;) {
        const count = await this.#conn.read(buffer);
        if (count === null) throw new Error("QEMU closed its QMP socket");
        text += decoder.decode(buffer.subarray(0, count), { stream: true });
        const lines = text.split("\n");
        text = lines.pop()!;
        for (const line of lines) {
          if (line.trim() !== "") this.#accept(JSON.parse(line) as Message);
        }
      }
    } catch (error) {
      if (this.#error) return;
      const plain = error instanceof Error ? error : new Error(String(error));
      this.fail(await this.#explain(plain));
    }
  }

  #accept(message: Message): void {
    if (message.event !== undefined) {
      this.#onEvent({ event: message.event, data: message.data ?? {} });
    } else if (message.id !== undefined) {
      const reply = this.#pending.get(message.id);
      if (message.error) reply?.reject(new QmpError(message.error.desc));
      else reply?.resolve(message.return);
    }
  }
}
