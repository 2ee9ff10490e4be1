/**
 * What a port is to be told: commands and files, in their order. Those for which there is no room wait here.
 *
 * @module
 */

import type { Clock, Timer } from "../clock.ts";

/** Milliseconds after which files are tried again that a port had no room for. */
const GIVE_MS = 10;

/** A command. */
export interface OutCommand {
  readonly kind: number;
  readonly handle: number;
  readonly aux: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** It is of no hurry. */
  readonly later: boolean;
}

/** A file that is to be given before the next command. */
interface OutFile {
  readonly file: number;
  readonly fd: number;
  readonly given: () => void;
}

/** What takes them: each says whether there was room. */
export interface Outlet {
  put(command: OutCommand): boolean;
  give(file: number, fd: number): boolean;
  /** Something is on its way that had waited. */
  sent(): void;
}

/** What waits, and does not fail. */
export class Outbox implements Disposable {
  readonly #waiting: (OutCommand | OutFile)[] = [];
  #giving: Timer | undefined;

  constructor(readonly clock: Clock, readonly outlet: Outlet) {}

  /** Does nothing wait? */
  get empty(): boolean {
    return this.#waiting.length === 0;
  }

  /** A command; true: it is on its way, false: it waits. */
  put(command: OutCommand): boolean {
    if (this.empty && this.outlet.put(command)) return true;
    // It has waited enough by then.
    this.#waiting.push({ ...command, bytes: command.bytes.slice(), later: false });
    return false;
  }

  /** A file. Resolves when it was given, or will never be. */
  give(file: number, fd: number): Promise<void> {
    const { promise, resolve: given } = Promise.withResolvers<void>();
    this.#waiting.push({ file, fd, given });
    this.send();
    return promise;
  }

  /** What waits goes on its way, as far as there is room. */
  send(): void {
    let sent = 0;
    for (const waiting of this.#waiting) {
      if (!("given" in waiting ? this.#give(waiting) : this.outlet.put(waiting))) break;
      sent++;
    }
    if (sent === 0) return;
    this.#waiting.splice(0, sent);
    this.outlet.sent();
  }

  /** Nobody takes it any more. */
  [Symbol.dispose](): void {
    this.#giving?.cancel();
    this.#giving = undefined;
    for (const waiting of this.#waiting.splice(0)) if ("given" in waiting) waiting.given();
  }

  #give({ file, fd, given }: OutFile): boolean {
    if (this.outlet.give(file, fd)) {
      given();
      return true;
    }
    this.#giving ??= this.clock.after(GIVE_MS, () => {
      this.#giving = undefined;
      this.send();
    });
    return false;
  }
}
