/**
 * The processes that the brain has started, ports and janitors, and their turns in this thread.
 *
 * Theory of operation. A thread of the helper library hears their bells, and wakes this one by the plane's. What they have told is handled in turns, of a batch each, as
 * long as there is more: so one that tells without end takes its share and no more. Handlers are synchronous. Set-ups alone can keep the thread busy for ever: so it goes through the
 * event loop once in a while. Commands that come of events are sent on their way after some of these; others, before the event loop goes on; what is of no hurry, a
 * moment later, unless the port was awake anyway and has done it.
 *
 * @module
 */

import type { Clock, Timer } from "../clock.ts";
import type { Library } from "./library.ts";
import type { Port, PortsContext } from "./port.ts";

/** Two of the longest records. So that nobody has this thread for long, it is not more. */
const BUFFER_BYTES = 16 << 10;
/** Milliseconds after which everything else in this thread has its turn, however many events there are. */
const TURN_MS = 1;
/** Milliseconds after which what is of no hurry is. */
const LATER_MS = 1;
/** Ports that are told of at once. */
const RUNG_MAX = 256;

/** What says that something is to be looked at: a {@linkcode Bell}. */
export interface Ringing extends Disposable {
  /** Wait until it is rung. @returns false: it will not be any more. */
  rung(): Promise<boolean>;
}

/** Gives them their turns. */
export class Ports implements PortsContext, Disposable {
  readonly known: Map<number, Port> = new Map();
  readonly buffer: Uint8Array<ArrayBuffer> = new Uint8Array(BUFFER_BYTES);
  readonly #due = new Set<Port>();
  readonly #later = new Set<Port>();
  readonly #rung = new Int32Array(RUNG_MAX);
  readonly #rungBytes = new Uint8Array(this.#rung.buffer);
  #timer: Timer | undefined;
  /** When others are to have their turn; as {@linkcode performance.now}. */
  #turnEnds = 0;
  #flushing = false;
  #turning = false;
  readonly #loop: Promise<void>;

  /**
   * @param plane The plane's handle.
   * @param bell The plane's.
   * @param look Looks at what else the bell may have rung for.
   * @param report Told about an exception of a handler, which is a bug of ours.
   */
  constructor(
    readonly library: Library,
    readonly plane: number,
    readonly clock: Clock,
    readonly bell: Ringing,
    readonly look: () => void,
    readonly report: (error: unknown) => void,
  ) {
    this.#loop = this.#listen();
  }

  due(port: Port): void {
    this.#due.add(port);
    if (!this.#turning) this.#turns().catch(this.report);
  }

  later(port: Port): void {
    this.#later.add(port);
    this.#timer ??= this.clock.after(LATER_MS, () => {
      this.#timer = undefined;
      const ports = [...this.#later];
      this.#later.clear();
      for (const port of ports) port.hurry();
    });
  }

  dirty(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.flush();
    });
  }

  flush(): void {
    this.library.symbols.csvn_ports_flush(this.plane);
  }

  async yield(): Promise<void> {
    const now = performance.now();
    // After a pause others have had theirs.
    if (now < this.#turnEnds || now > this.#turnEnds + TURN_MS) {
      if (now >= this.#turnEnds) this.#turnEnds = now + TURN_MS;
      return;
    }
    this.flush();
    await this.library.symbols.csvn_turn();
    this.#turnEnds = performance.now() + TURN_MS;
  }

  /** No more is heard of them. Resolves when that is so. */
  async close(): Promise<void> {
    this[Symbol.dispose]();
    await this.#loop;
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
    this.bell[Symbol.dispose]();
  }

  async #listen(): Promise<void> {
    while (await this.bell.rung()) this.#hear();
  }

  /** Those that rang have a turn. */
  #hear(): void {
    for (let count = RUNG_MAX; count === RUNG_MAX;) {
      count = this.library.symbols.csvn_rung_take(this.plane, this.#rungBytes, RUNG_MAX);
      for (let i = 0; i < count; i++) {
        const port = this.known.get(this.#rung[i]!);
        if (port) this.due(port);
      }
    }
    this.look();
  }

  async #turns(): Promise<void> {
    this.#turning = true;
    try {
      for (const port of this.#due) {
        this.#due.delete(port);
        if (await port.turn()) this.#due.add(port);
        this.#hear();
      }
    } finally {
      this.#turning = false;
    }
  }
}
