/**
 * The processes that the brain has started, ports and janitors, and their turns in this thread.
 *
 * Theory of operation. What they have told is handled in turns, of a batch each, as long as there is more: so one that tells without end takes its share and no more. When none has
 * anything to say, this thread sleeps, until the plane's bell rings. Handlers are synchronous. Set-ups alone can keep the thread busy for ever: so it goes through the
 * event loop once in a while. Commands that come of events are sent on their way after some of these; others, before the event loop goes on; what is of no hurry, a
 * moment later, unless the port was awake anyway and has done it.
 *
 * @module
 */

import type { Clock, Timer } from "../clock.ts";
import type { Library } from "./library.ts";
import type { Port, PortsContext } from "./port.ts";

/** A little more than the longest record, so that nobody has this thread for long. */
const BUFFER_BYTES = 9 << 10;
/** Milliseconds after which everything else in this thread has its turn, however many events there are. */
const TURN_MS = 1;
/** Events whose answers are sent on their way at once: more would keep guests waiting while there is work for them. */
const FLUSH_EVENTS = 32;
/** Milliseconds after which what is of no hurry is. */
const LATER_MS = 1;
/** Ports that have a turn between two looks at what else there is. */
const HEARD_MAX = 64;
/** Promises that follow from one another, mostly fewer. */
const CONTINUATIONS = 8;

/** What says that something is to be looked at: a {@linkcode Bell}. */
export interface Ringing extends Disposable {
  /** Wait until it is rung. @returns false: it will not be any more. */
  rung(): Promise<boolean>;
}

/** Gives them their turns. */
export class Ports implements PortsContext, Disposable {
  /** Times that this thread had nothing to do for them, and slept. */
  slept = 0;
  readonly known: Map<number, Port> = new Map();
  readonly buffer: Uint8Array<ArrayBuffer> = new Uint8Array(BUFFER_BYTES);
  readonly #due = new Set<Port>();
  readonly #later = new Set<Port>();
  readonly #heard = new Int32Array(HEARD_MAX);
  readonly #heardBytes = new Uint8Array(this.#heard.buffer);
  #timer: Timer | undefined;
  /** When others are to have their turn; as {@linkcode performance.now}. */
  #turnEnds = 0;
  #flushing = false;
  /** Events since commands were sent on their way. */
  #handled = 0;
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
    this.#loop = this.#run();
  }

  due(port: Port): void {
    this.#due.add(port);
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

  handled(): void {
    if (++this.#handled >= FLUSH_EVENTS) this.flush();
  }

  /** Send commands on their way now. */
  flush(): void {
    this.#handled = 0;
    this.library.symbols.csvn_ports_flush(this.plane);
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

  async #run(): Promise<void> {
    do {
      for (let count: number; (count = await this.#hear()) >= 0;) {
        for (let i = 0; i < count; i++) {
          this.known.get(this.#heard[i]!)?.turn();
          if (performance.now() >= this.#turnEnds) await this.#yield();
        }
        if (performance.now() >= this.#turnEnds) await this.#yield();
        this.look();
        for (const port of [...this.#due]) {
          this.#due.delete(port);
          port.turn();
        }
      }
      this.slept++;
    } while (await this.#sleep());
  }

  /** Let everything else in this thread have its turn. */
  async #yield(): Promise<void> {
    this.flush();
    await this.library.symbols.csvn_turn();
    this.#turnEnds = performance.now() + TURN_MS;
  }

  async #sleep(): Promise<boolean> {
    const rung = await this.bell.rung();
    this.#turnEnds = performance.now() + TURN_MS;
    return rung;
  }

  /** How many ports have something to say; -EAGAIN: none, nor is there anything else, and the bell rings when there is. */
  async #hear(): Promise<number> {
    // What promises go on with comes first: this thread may stand still for a moment now.
    for (let i = 0; i < CONTINUATIONS; i++) await undefined;
    if (this.#due.size > 0) return 0;
    this.flush();
    return this.library.symbols.csvn_ports_hear(this.plane, this.#heardBytes, HEARD_MAX);
  }
}
