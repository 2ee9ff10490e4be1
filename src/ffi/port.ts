/**
 * A port, as the brain sees it: the process that alone touches what one front-end and its guest hold (`lib/src`). It is given commands, and tells events.
 *
 * Theory of operation. Commands are done in their order, and counted when they are: what a caller waits for is that count (an acknowledgement), or an event
 * with the outcome, which comes before. A command for which there is no room in the queue waits here, behind those that came before it, and never fails: each is about
 * something that the VM holds, of which there is a bounded number. Files go another way, a socket, each before the commands that name it.
 *
 * A port that is gone has done all that it will ever do: what waits for acknowledgement goes on, outcomes are errors. It may be stuck as well: one that does nothing
 * about its commands for a while is killed. One that cannot be killed keeps what it holds, for ever.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock, Timer } from "../clock.ts";
import { Errno, SystemError } from "../errno.ts";
import { Command, Layout, PortState } from "./abi.ts";
import { Bell } from "./bell.ts";
import { decodeEvents, type PortEvent, PortEventError } from "./events.ts";
import type { Library } from "./library.ts";

const log = getLogger(["csvn", "port"]);

const BUFFER_BYTES = 256 << 10;
/** Events whose answers are sent on their way at once: more would keep guests waiting while there is work for them. */
const FLUSH_EVENTS = 32;
/** Milliseconds between two looks whether a port does what it was told; for so long it may do nothing. */
const STUCK_MS = 10_000;
/** Milliseconds after which files are tried again that a port had no room for. */
const GIVE_MS = 10;
const NUMBERS = 0x7fffffff;
/** No command is waited for. */
const NEVER = 0xffff_ffff_ffff_ffffn;
const EMPTY = new Uint8Array();

/** What ports have in common. */
export interface PortsContext {
  readonly library: Library;
  /** The plane's handle. */
  readonly plane: number;
  readonly clock: Clock;
  /** Told about an exception of a handler, which is a bug of ours. */
  readonly report: (error: unknown) => void;
  /** Commands were given: they are sent on their way soon. */
  dirty(): void;
  /** Send commands on their way now, while events are handled. */
  flush(): void;
  /** Let everything else in this thread have its turn, if it is due. */
  yield(): Promise<void>;
}

/** A command that has not found room. */
interface Waiting {
  readonly kind: number;
  readonly handle: number;
  readonly aux: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A file that is to be given before the next command. */
interface File {
  readonly file: number;
  readonly fd: number;
  readonly given: () => void;
}

interface Awaited {
  readonly number: number;
  readonly resolve: () => void;
}

/** How far a port is. */
export interface Progress {
  /** Commands done. */
  readonly done: number;
  /** Announcements delivered, and resets. */
  readonly delivered: number;
  readonly deliveredResets: number;
  /** The counters, in their C order. */
  readonly counters: readonly number[];
}

/** A port that has not begun, runs, or is gone. */
export class Port {
  readonly symbols: Library["symbols"];
  /** Told of events. */
  handler: (event: PortEvent) => void = () => {};
  /** Told once when it is gone, with the reason. */
  ended: (reason: string) => void = () => {};
  /** Events that it has told. */
  events = 0;
  /** Times that nothing of it was left to do. */
  parks = 0;
  #state: "starting" | "running" | "gone" = "starting";
  /** It was told to end, or is let go of. */
  #leaving = false;
  /** Nothing of it is left to do here: its bell is waited for. */
  #parked = false;
  /** Commands given, those that wait here among them. */
  #given = 0;
  #done = 0;
  readonly #waiting: (Waiting | File)[] = [];
  readonly #awaited: Awaited[] = [];
  readonly #results = new Map<number, PromiseWithResolvers<number>>();
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #progress = new BigUint64Array(Layout.progress.size / 8);
  readonly #progressBytes = new Uint8Array(this.#progress.buffer);
  #bell: Bell | undefined;
  #loop: Promise<void> = Promise.resolve();
  #stuck: Timer | undefined;
  #giving: Timer | undefined;
  #nextFile = 0;

  /** @param handle Of the plane's. */
  constructor(readonly context: PortsContext, readonly handle: number) {
    this.symbols = context.library.symbols;
  }

  /** Is there a process that does what it is told? */
  get gone(): boolean {
    return this.#state === "gone";
  }

  /** Its process; undefined when there is none. */
  get pid(): number | undefined {
    const pid = this.symbols.csvn_port_pid(this.context.plane, this.handle);
    return pid < 0 ? undefined : pid;
  }

  /** How far it is, now. */
  progress(): Progress {
    this.symbols.csvn_port_progress(this.context.plane, this.handle, this.#progressBytes);
    const [done, delivered, deliveredResets, ...counters] = [...this.#progress].map(Number);
    return { done: done!, delivered: delivered!, deliveredResets: deliveredResets!, counters };
  }

  /** Start its process, and deliver its events. Rejects when that cannot be. */
  async start(): Promise<void> {
    const [bell] = await Bell.hang(async (path) => {
      const rc = await this.symbols.csvn_port_start(this.context.plane, this.handle, path, path.length);
      if (rc < 0) throw new SystemError("start a port", -rc);
    });
    this.#bell = bell;
    if (this.#state === "gone") return bell[Symbol.dispose]();
    this.#state = "running";
    this.#send();
    this.context.dirty();
    this.#loop = this.#run(bell);
  }

  /**
   * Give a command.
   *
   * @param handle The object's number, and `aux`, as the command has them.
   * @returns The command's number.
   */
  command(kind: number, handle = 0, aux = 0, bytes: Uint8Array = EMPTY): number {
    const number = this.#given++;
    if (this.#state === "gone") return number;
    if (this.#waiting.length === 0 && this.#put(kind, handle, aux, bytes as Uint8Array<ArrayBuffer>)) {
      this.context.dirty();
    } else {
      this.#waiting.push({ kind, handle, aux, bytes: bytes.slice() });
      this.#wait();
    }
    this.#watch();
    return number;
  }

  /** Give a command that has an outcome. Resolves with that; rejects with a {@linkcode SystemError}. @param what Is done, for its message. */
  async ask(what: string, kind: number, handle = 0, aux = 0, bytes: Uint8Array = EMPTY): Promise<number> {
    const number = this.command(kind, handle, aux, bytes) & NUMBERS;
    let value: number = -Errno.ECONNRESET;
    if (this.#state !== "gone") {
      const result = Promise.withResolvers<number>();
      this.#results.set(number, result);
      value = await result.promise;
    }
    if (value < 0) throw new SystemError(what, -value);
    return value;
  }

  /** Give a command, and resolve when it is done, or the port is gone. It never rejects. */
  acknowledged(kind: number, handle = 0, aux = 0, bytes: Uint8Array = EMPTY): Promise<void> {
    if (this.#state === "gone") return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#awaited.push({ number: this.#given, resolve });
    // Before it is given: it may be done at once.
    if (this.#parked) this.#want();
    this.command(kind, handle, aux, bytes);
    return promise;
  }

  /** Give a command, and have something done after it, or once the port is gone. */
  afterwards(then: () => void, kind: number, handle = 0, aux = 0, bytes: Uint8Array = EMPTY): void {
    this.acknowledged(kind, handle, aux, bytes).then(then, then);
  }

  /**
   * Give a file. The descriptor may be closed once the promise has resolved.
   *
   * @returns Its number, for commands given from now on.
   */
  give(fd: number): { readonly file: number; readonly given: Promise<void> } {
    const file = this.#nextFile++ & 0xffff;
    const { promise: given, resolve } = Promise.withResolvers<void>();
    if (this.#state === "gone") resolve();
    else {
      this.#waiting.push({ file, fd, given: resolve });
      this.#send();
    }
    return { file, given };
  }

  /** Nothing passes any more by a host circuit or a permit, or again: at once, whatever the port is about to do. @param what {@linkcode Revocable}. */
  revoke(what: number, number: number, revoked: boolean): void {
    this.symbols.csvn_port_revoke(this.context.plane, this.handle, what, number, revoked ? 1 : 0);
  }

  /** It cannot do what it must: it is killed. */
  fail(reason: string): void {
    if (this.#state === "gone" || this.#leaving) return;
    log.error("port {port}: {reason}: killed", { port: this.handle, reason });
    this.symbols.csvn_port_kill(this.context.plane, this.handle);
  }

  /** Have it close everything and end. */
  end(): void {
    if (this.#leaving || this.#state === "gone") return;
    this.#leaving = true;
    if (this.#state === "starting") return this.lost("it was not needed any more");
    this.command(Command.END);
  }

  /** Let go of it: it goes on by itself until its front-end is gone, answering that in the switch's place. */
  release(): void {
    this.#leaving = true;
    this.lost("the switch stops");
  }

  /** It was killed, and is there still (in a system call that nothing interrupts): what it holds is nobody else's for as long as that lasts. */
  #writeOff(): void {
    log.error("port {port} (process {pid}) cannot be killed: what it holds is written off", {
      port: this.handle,
      pid: this.pid,
    });
    this.#awaited.splice(0);
    this.lost("its port is stuck");
  }

  /** Its process has ended, or nobody cares for it any more. */
  lost(reason: string): void {
    if (this.#state === "gone") return;
    this.#state = "gone";
    this.#stuck?.cancel();
    this.#giving?.cancel();
    this.symbols.csvn_port_forget(this.context.plane, this.handle);
    this.#bell?.[Symbol.dispose]();
    for (const waiting of this.#waiting.splice(0)) if ("given" in waiting) waiting.given();
    for (const { resolve } of this.#awaited.splice(0)) resolve();
    for (const { resolve } of this.#results.values()) resolve(-Errno.ECONNRESET);
    this.#results.clear();
    this.ended(reason);
  }

  /** Resolves when no more of its events are handled. */
  async settled(): Promise<void> {
    await this.#loop;
  }

  #put(kind: number, handle: number, aux: number, bytes: Uint8Array<ArrayBuffer>): boolean {
    if (this.#state !== "running") return false;
    const { plane } = this.context;
    return this.symbols.csvn_port_command(plane, this.handle, kind, handle, aux, bytes, bytes.length) === 0;
  }

  /** Have the bell rung when what is waited for is done. */
  #want(): void {
    this.symbols.csvn_port_want(this.context.plane, this.handle, this.#wanted());
  }

  /** There is no room for commands: there will be, and then the bell is to ring; or there is by now. */
  #wait(): void {
    if (this.#state !== "running" || !this.#parked) return;
    this.#done = Math.max(this.#done, this.progress().done);
    this.#want();
    this.#send();
  }

  /** What waits goes on its way, as far as there is room. */
  #send(): void {
    let sent = 0;
    for (const waiting of this.#waiting) {
      if (
        "given" in waiting ? !this.#give(waiting) : !this.#put(waiting.kind, waiting.handle, waiting.aux, waiting.bytes)
      ) break;
      sent++;
    }
    if (sent === 0) return;
    this.#waiting.splice(0, sent);
    this.context.dirty();
  }

  #give({ file, fd, given }: File): boolean {
    if (this.#state !== "running") return false;
    const rc = this.symbols.csvn_port_give(this.context.plane, this.handle, file, fd);
    if (rc === -Errno.EAGAIN) {
      this.#giving ??= this.context.clock.after(GIVE_MS, () => {
        this.#giving = undefined;
        this.#send();
      });
      return false;
    }
    // Another error is that of a port that is about to be lost.
    given();
    return true;
  }

  /** Look in a while whether it does what it was told. */
  #watch(): void {
    if (this.#stuck || this.#state !== "running") return;
    const done = this.#done;
    this.#stuck = this.context.clock.after(STUCK_MS, () => {
      this.#stuck = undefined;
      this.#done = Math.max(this.#done, this.progress().done);
      if (this.#done >= this.#given && !this.#leaving) return;
      if (this.#done > done) return this.#watch();
      log.error("port {port} (process {pid}) has done nothing for {ms} ms: killed", {
        port: this.handle,
        pid: this.pid,
        ms: STUCK_MS,
      });
      this.symbols.csvn_port_kill(this.context.plane, this.handle);
      this.#stuck = this.context.clock.after(STUCK_MS, () => this.#writeOff());
    });
  }

  async #run(bell: Bell): Promise<void> {
    while (this.#state === "running") {
      const { plane } = this.context;
      const bytes = this.symbols.csvn_port_take(plane, this.handle, this.#buffer, BUFFER_BYTES, this.#progressBytes);
      if (bytes < 0) return this.#distrust(`its queue of events: ${bytes}`);
      const done = Number(this.#progress[0]);
      if (bytes > 0) await this.#deliver(bytes);
      this.#acknowledge(done);
      if (this.#waiting.length > 0) this.#send();
      if (bytes > 0 || this.#state !== "running") continue;
      if (this.symbols.csvn_port_park(plane, this.handle, this.#wanted()) !== 1) continue;
      this.parks++;
      this.#parked = true;
      const rung = await bell.rung();
      this.#parked = false;
      if (!rung) return;
    }
  }

  /** The count of commands that is waited for. */
  #wanted(): bigint {
    if (this.#waiting.length > 0) return BigInt(this.#done + 1);
    const first = this.#awaited[0];
    return first ? BigInt(first.number + 1) : NEVER;
  }

  #acknowledge(done: number): void {
    if (done > this.#given) return this.#distrust(`it has done ${done} commands of ${this.#given}`);
    this.#done = Math.max(this.#done, done);
    let count = 0;
    for (const { number, resolve } of this.#awaited) {
      if (number >= done) break;
      resolve();
      count++;
    }
    this.#awaited.splice(0, count);
  }

  /** Handle a batch of events, all of it. */
  async #deliver(bytes: number): Promise<void> {
    let count = 0;
    try {
      for (const event of decodeEvents(this.#buffer, bytes)) {
        if (count++ % FLUSH_EVENTS === 0) {
          this.context.flush();
          await this.context.yield();
        }
        this.#handle(event);
        if (this.#state !== "running") break;
      }
    } catch (error) {
      if (!(error instanceof PortEventError)) throw error;
      this.#distrust(error.message);
    }
    this.context.flush();
  }

  #handle(event: PortEvent): void {
    this.events++;
    if (event.kind === "result") {
      this.#results.get(event.number)?.resolve(event.value);
      this.#results.delete(event.number);
      return;
    }
    try {
      this.handler(event);
    } catch (error) {
      this.context.report(error);
    }
  }

  /** It says what no port says: its guest may have taken it over. */
  #distrust(what: string): void {
    if (this.#state === "gone") return;
    log.error("port {port} is not to be believed ({what}): killed", { port: this.handle, what });
    if (this.symbols.csvn_port_state(this.context.plane, this.handle) === PortState.RUNS) {
      this.symbols.csvn_port_kill(this.context.plane, this.handle);
    }
  }
}
