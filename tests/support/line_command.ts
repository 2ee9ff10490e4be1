/**
 * A command in a guest that is talked to line by line.
 *
 * @module
 */

import { deadline } from "@std/async";
import type { Guest, GuestCommand } from "../../tools/testbed/guest.ts";

const ANSWER_MS = 30_000;

/** A command that answers each line with a line. It is killed at the end. */
export class LineCommand implements Disposable {
  readonly #command: GuestCommand;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #rest = "";

  constructor(guest: Guest, command: string) {
    this.#command = guest.spawn(`exec ${command} 2>&1`);
    this.#writer = this.#command.stdin.getWriter();
    this.#reader = this.#command.stdout.getReader();
  }

  /** The next line. */
  async line(): Promise<string> {
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return line;
      }
      const { value, done } = await deadline(this.#reader.read(), ANSWER_MS);
      if (done) throw new Error(`the command has ended; its last words: ${this.#rest}`);
      this.#rest += new TextDecoder().decode(value);
    }
  }

  /** Say a line, and hear one. */
  async ask(line: string): Promise<string> {
    await this.#writer.write(new TextEncoder().encode(line + "\n"));
    return await this.line();
  }

  [Symbol.dispose](): void {
    this.#command.kill().catch(() => {});
  }
}
