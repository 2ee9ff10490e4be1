/** The host's end of the connection to a guest's agent. */
import { deadline } from "@std/async";
import { GuestCommand } from "./command.ts";
import { AGENT_VERSION, encodeExec, encodeFrame, type ExecRequest, FrameReader, FrameType, wordAt } from "./frames.ts";

/** First bytes of the agent's answer: 12 bytes of payload, id 0, its type. */
const HELLO_HEAD = [12, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 0];

/** One connection to an agent, from its HELLO to its end. */
export class AgentClient {
  /** Resolves when the connection is closed and its reader has stopped. */
  readonly closed: Promise<void>;
  readonly #conn: Deno.Conn;
  readonly #explain: (error: Error) => Promise<Error>;
  readonly #commands = new Map<number, GuestCommand>();
  readonly #hello: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #nonce = crypto.getRandomValues(new Uint8Array(8));
  readonly #writer: { tail: Promise<void> } = { tail: Promise.resolve() };
  #nextId = 1;
  #error: Error | undefined;

  /**
   * Speak to the agent at the end of this connection. When that breaks,
   * `explain` turns the error into the one that commands get.
   */
  constructor(
    conn: Deno.Conn,
    explain: (error: Error) => Promise<Error> = (error) => Promise.resolve(error),
  ) {
    this.#conn = conn;
    this.#explain = explain;
    this.#hello.promise.catch(() => {}); // told by hello()
    this.closed = this.#read();
  }

  /** Wait until the agent is there; DOMException TimeoutError after `ms`. */
  async hello(ms: number): Promise<void> {
    // QEMU keeps it until the guest's agent opens its end.
    await this.#send(encodeFrame(FrameType.hello, 0, this.#nonce));
    await deadline(this.#hello.promise, ms);
  }

  /** Start a command. */
  exec(request: ExecRequest): GuestCommand {
    const id = this.#nextId++;
    const frame = encodeFrame(FrameType.exec, id, encodeExec(request));
    const command = new GuestCommand(id, (frame) => this.#send(frame));
    if (this.#error) {
      command.fail(this.#error);
      return command;
    }
    this.#commands.set(id, command);
    this.#send(frame).catch((error) => this.#broken(error));
    return command;
  }

  /** Ask for the machine to be powered off. */
  async powerOff(): Promise<void> {
    await this.#send(encodeFrame(FrameType.poweroff, 0));
  }

  /** Close; all commands that run get this error. */
  fail(error: Error): void {
    if (this.#error) return;
    this.#error = error;
    this.#hello.reject(error);
    for (const command of this.#commands.values()) command.fail(error);
    this.#commands.clear();
    this.#conn.close();
  }

  /** Write a whole frame, after all that were sent before. */
  #send(frame: Uint8Array): Promise<void> {
    const write = async (): Promise<void> => {
      if (this.#error) throw this.#error;
      for (let sent = 0; sent < frame.length;) {
        sent += await this.#conn.write(frame.subarray(sent));
      }
    };
    const done = this.#writer.tail.then(write);
    this.#writer.tail = done.catch(() => {});
    return done;
  }

  async #read(): Promise<void> {
    try {
      const reader = new FrameReader();
      let early: Uint8Array | undefined = new Uint8Array(0);
      const buffer = new Uint8Array(64 * 1024);
      for (;;) {
        const count = await this.#conn.read(buffer);
        if (count === null) throw new Error("QEMU closed the agent's port");
        let bytes = buffer.subarray(0, count);
        if (early !== undefined) {
          // A guest that was reset may have left half a frame in the channel.
          const all: Uint8Array = new Uint8Array([...early, ...bytes]);
          const start = this.#findHello(all);
          if (start < 0) {
            early = all.slice(-(HELLO_HEAD.length + 8));
            continue;
          }
          early = undefined;
          bytes = all.slice(start) as Uint8Array<ArrayBuffer>;
        }
        for (const { type, id, payload } of reader.push(bytes)) {
          if (type === FrameType.guestHello) {
            const version = wordAt(payload, 2);
            if (version !== AGENT_VERSION) {
              throw new Error(`the agent speaks version ${version}`);
            }
            this.#hello.resolve();
            continue;
          }
          const command = this.#commands.get(id);
          if (command?.accept({ type, id, payload })) this.#commands.delete(id);
        }
      }
    } catch (error) {
      await this.#broken(error);
    }
  }

  async #broken(error: unknown): Promise<void> {
    if (this.#error) return;
    const plain = error instanceof Error ? error : new Error(String(error));
    this.fail(await this.#explain(plain));
  }

  /** Where the answer to our HELLO starts, or -1. */
  #findHello(bytes: Uint8Array): number {
    const wanted = [...HELLO_HEAD, ...this.#nonce];
    for (let at = 0; at + wanted.length <= bytes.length; at++) {
      if (wanted.every((byte, index) => bytes[at + index] === byte)) return at;
    }
    return -1;
  }
}
