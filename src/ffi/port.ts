/**
 * A port, as the brain sees it: the process that alone touches what one front-end and its guest hold (`lib/src`). It is given commands, and tells events.
 *
 * Theory of operation. Commands are done in their order, and counted when they are: what a caller waits for is that count (an acknowledgement), or an event
 * with the outcome, which comes before. What is of no hurry does not wake it: it is done with what comes next, or in a moment. A command for which there is no room in the queue waits here, behind those that came before it, and never fails: each is about
 * something that the VM holds, of which there is a bounded number. Files go another way, a socket, each before the commands that name it.
 *
 * A port that is over has done all that it will ever do: what waits for acknowledgement goes on, outcomes are errors. It may be stuck as well (in a loop, or in a system call
 * that nothing interrupts): one that does nothing about its commands for a while, or gives no sign of life when it is asked for one (`heartbeat.ts`), is killed. Its VM is lost at that
 * moment. But until its process has ended, nobody knows what that does: what it may touch is nobody else's. Mostly that takes no time; if it takes long, the port is written off, which is said, and nothing else.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock, Timer } from "../clock.ts";
import { Errno, SystemError } from "../errno.ts";
import { Command, Layout } from "./abi.ts";
import { Acknowledgements } from "./acknowledgements.ts";
import { decodeEvents, type PortEvent, PortEventError } from "./events.ts";
import type { Library } from "./library.ts";
import { Outbox, type OutCommand } from "./outbox.ts";
import { STUCK_S, Watchdog } from "./watchdog.ts";

const log = getLogger(["csvn", "port"]);

/** Milliseconds after which a port that was killed and has not ended is written off. */
const KILLED_MS = 10_000;
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
  /** Those that are not over, by their handles. */
  readonly known: Map<number, Port>;
  /** For events, while a port has its turn. */
  readonly buffer: Uint8Array<ArrayBuffer>;
  /** Told about an exception of a handler, which is a bug of ours. */
  readonly report: (error: unknown) => void;
  /** Commands were given: they are sent on their way soon. */
  dirty(): void;
  /** An event was handled. */
  handled(): void;
  /** Have {@linkcode Port.turn} called soon. */
  due(port: Port): void;
  /** Have {@linkcode Port.hurry} called in a moment. */
  later(port: Port): void;
}

/** What a port is in:
 * - `starting`: its process is being made;
 * - `running`: it does what it is told;
 * - `killed`: it was killed, and has not ended yet. It is told nothing more, and may touch what it has;
 * - `written off`: the same, for so long that it may be for ever;
 * - `over`: there is no process, or nobody cares for it any more.
 */
export type PortState = "starting" | "running" | "killed" | "written off" | "over";

/** What may follow. */
const next: Readonly<Record<PortState, readonly PortState[]>> = {
  starting: ["running", "over"],
  running: ["killed", "over"],
  killed: ["written off", "over"],
  "written off": ["over"],
  over: [],
};

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

/** A port, from its front-end's connection to its process's end. */
export class Port {
  readonly symbols: Library["symbols"];
  /** Told of events. */
  handler: (event: PortEvent) => void = () => {};
  /** Told once when nothing is to be had of it any more, with the reason. */
  ended: (reason: string) => void = () => {};
  /** Told once when it is over. */
  over: () => void = () => {};
  /** What it is called in the log, and in reasons, and whose it is. */
  title: string;
  name = "its port";
  owner: string | undefined;
  /** Why nothing is to be had of it any more. */
  reason: string | undefined;
  /** Events that it has told. */
  events = 0;
  #state: PortState = "starting";
  /** It was told to end, or is let go of. */
  #leaving = false;
  /** As many commands done are waited for, as was said. */
  #said = NEVER;
  /** How its process has ended. */
  #end: string | undefined;
  /** Commands given, those that wait here among them. */
  #given = 0;
  #done = 0;
  readonly #outbox: Outbox;
  readonly #awaited = new Acknowledgements();
  /** For what matters no more once the port was killed, and is of no hurry. */
  readonly #patient = new Acknowledgements();
  /** Behind the last command that is of no hurry; and it is by now. */
  #later = 0;
  #hurried = false;
  readonly #results = new Map<number, PromiseWithResolvers<number>>();
  readonly #progress = new BigUint64Array(Layout.progress.size / 8);
  readonly #progressBytes = new Uint8Array(this.#progress.buffer);
  readonly #watchdog: Watchdog;
  #killed: Timer | undefined;
  #nextFile = 0;

  /** @param handle Of the plane's. */
  constructor(readonly context: PortsContext, readonly handle: number) {
    this.symbols = context.library.symbols;
    this.title = `port ${handle}`;
    context.known.set(handle, this);
    this.#outbox = new Outbox(context.clock, {
      put: (command) => this.#put(command),
      give: (file, fd) => this.#give(file, fd),
      sent: () => context.dirty(),
    });
    this.#watchdog = new Watchdog(context.clock, {
      done: () => this.#done = Math.max(this.#done, this.#look()),
      // One that was told to end is not, whatever it has done.
      idle: () => this.#done >= this.#given && !this.#leaving,
      stuck: () => this.#kill(`it has done nothing for ${STUCK_S} s`),
    });
  }

  /** What it is in. */
  get state(): PortState {
    return this.#state;
  }

  /** Is there nobody any more who does what it is told? */
  get gone(): boolean {
    return this.#state !== "starting" && this.#state !== "running";
  }

  /** Its process; undefined when there is none. */
  get pid(): number | undefined {
    const pid = this.symbols.csvn_port_pid(this.context.plane, this.handle);
    return pid < 0 ? undefined : pid;
  }

  /** How far it is, now. */
  progress(): Progress {
    this.#look();
    const [done, delivered, deliveredResets, ...counters] = [...this.#progress].map(Number);
    return { done: done!, delivered: delivered!, deliveredResets: deliveredResets!, counters };
  }

  /** Start its process, and have its events delivered. Rejects when that cannot be. */
  async start(): Promise<void> {
    const rc = await this.symbols.csvn_port_start(this.context.plane, this.handle);
    if (rc < 0) throw new SystemError("start a port", -rc);
    if (this.gone) return;
    this.#become("running");
    this.#outbox.send();
    this.#want();
    this.context.dirty();
  }

  /** Its turn: handle a batch of what it has told, and of what it has done. */
  turn(): void {
    const more = this.#state === "running" && this.#hear();
    if (this.#end === undefined) return;
    if (more) this.context.due(this);
    else this.lost(this.#end);
  }

  /** What was of no hurry is now. */
  hurry(): void {
    if (this.#state !== "running") return;
    this.#hurried = true;
    this.#want();
    if (this.#look() < this.#later) this.command(Command.NOTHING);
  }

  /**
   * Give a command.
   *
   * @param handle The object's number, and `aux`, as the command has them.
   * @param later It is of no hurry.
   * @returns The command's number.
   */
  command(kind: number, handle = 0, aux = 0, bytes: Uint8Array = EMPTY, later = false): number {
    const number = this.#given++;
    if (this.gone) return number;
    if (!this.#outbox.put({ kind, handle, aux, bytes: bytes as Uint8Array<ArrayBuffer>, later })) this.#wait();
    else if (!later) this.context.dirty();
    if (later) {
      this.#later = this.#given;
      this.context.later(this);
    }
    if (this.#state === "running") this.#watchdog.told();
    return number;
  }

  /** Give a command that has an outcome. Resolves with that; rejects with a {@linkcode SystemError}. @param what Is done, for its message. */
  async ask(
    what: string,
    kind: number,
    handle = 0,
    aux = 0,
    bytes: Uint8Array = EMPTY,
    later = false,
  ): Promise<number> {
    const number = this.command(kind, handle, aux, bytes, later) & NUMBERS;
    let value: number = -Errno.ECONNRESET;
    if (!this.gone) {
      const result = Promise.withResolvers<number>();
      this.#results.set(number, result);
      value = await result.promise;
    }
    if (value < 0) throw new SystemError(what, -value);
    return value;
  }

  /** Give a command, and resolve when it is done, or the port is over: then it does not touch what it was about. It never rejects. */
  acknowledged(kind: number, handle = 0, aux = 0, bytes: Uint8Array = EMPTY): Promise<void> {
    if (this.#state === "over") return Promise.resolve();
    const promise = this.#awaited.of(this.#given);
    // Before it is given: it may be done at once.
    this.#want();
    this.command(kind, handle, aux, bytes);
    return promise;
  }

  /** The same for what is of no hurry, and of no importance any more once the port was killed. */
  obeyed(kind: number, handle = 0, aux = 0, bytes: Uint8Array = EMPTY): Promise<void> {
    if (this.gone) return Promise.resolve();
    const promise = this.#patient.of(this.#given);
    this.command(kind, handle, aux, bytes, true);
    return promise;
  }

  /** Give a command, and have something done after it, or once the port is over. */
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
    return { file, given: this.gone ? Promise.resolve() : this.#outbox.give(file, fd) };
  }

  /** Nothing passes any more by a host circuit or a permit, or again: at once, whatever the port is about to do. @param what {@linkcode Revocable}. */
  revoke(what: number, number: number, revoked: boolean): void {
    this.symbols.csvn_port_revoke(this.context.plane, this.handle, what, number, revoked ? 1 : 0);
  }

  /** Have it give a sign of life: it is stuck if none comes. */
  beat(): void {
    if (this.#state === "running" && !this.#watchdog.watches) this.command(Command.NOTHING);
  }

  /** It cannot do what it must: it is killed. */
  fail(reason: string): void {
    if (!this.#leaving) this.#kill(reason);
  }

  /** Have it close everything and end. */
  end(): void {
    if (this.#leaving || this.gone) return;
    this.#leaving = true;
    if (this.#state === "starting") return this.lost("it was not needed any more");
    this.command(Command.END);
  }

  /** Let go of it: it goes on by itself until its front-end is gone, answering that in the switch's place. */
  release(): void {
    this.#leaving = true;
    this.lost("the switch stops");
  }

  /** Its process has ended. What it has told before is handled first. */
  ends(how: string): void {
    this.#end = `${this.name} ${how}`;
    this.context.due(this);
  }

  /** Nobody cares for it any more, whether its process has ended or not. */
  lost(reason: string): void {
    if (this.#state === "over") return;
    const { gone } = this;
    this.#become("over");
    this.#killed?.cancel();
    this.symbols.csvn_port_forget(this.context.plane, this.handle);
    this.context.known.delete(this.handle);
    if (!gone) this.#depart(reason);
    this.#awaited.over();
    this.over();
  }

  /** How far it is, commands done first. */
  #look(): number {
    this.symbols.csvn_port_progress(this.context.plane, this.handle, this.#progressBytes);
    return Number(this.#progress[0]);
  }

  #become(state: PortState): void {
    if (!next[this.#state].includes(state)) throw new Error(`a port cannot go from ${this.#state} to ${state}`);
    this.#state = state;
  }

  /** Mostly it ends at once. What it cannot leave is a system call that nothing interrupts. */
  #kill(reason: string): void {
    if (this.#state !== "running") return;
    const names = { title: this.title, pid: this.pid, reason };
    log.error("{title} (process {pid}): {reason}: killed", names);
    this.#become("killed");
    this.symbols.csvn_port_kill(this.context.plane, this.handle);
    this.#killed = this.context.clock.after(KILLED_MS, () => {
      this.#become("written off");
      log.error(
        "{title} (process {pid}) cannot be killed: what it holds is written off until it ends",
        names,
      );
    });
    this.#depart(`its port was killed: ${reason}`);
  }

  /** Nothing is to be had of it any more. */
  #depart(reason: string): void {
    this.reason = reason;
    this.#watchdog[Symbol.dispose]();
    this.#outbox[Symbol.dispose]();
    this.#patient.over();
    for (const { resolve } of this.#results.values()) resolve(-Errno.ECONNRESET);
    this.#results.clear();
    this.ended(reason);
  }

  #put({ kind, handle, aux, bytes, later }: OutCommand): boolean {
    if (this.#state !== "running") return false;
    const { symbols, context: { plane } } = this;
    return symbols.csvn_port_command(plane, this.handle, kind, handle, aux, bytes, bytes.length, later ? 1 : 0) === 0;
  }

  #give(file: number, fd: number): boolean {
    if (this.#state !== "running") return false;
    // Another error is that of a port that is about to be lost.
    return this.symbols.csvn_port_give(this.context.plane, this.handle, file, fd) !== -Errno.EAGAIN;
  }

  /** Say what is waited for: it has a turn when that is done. */
  #want(): void {
    const wanted = this.#wanted();
    if (wanted === this.#said || this.#state !== "running") return;
    this.#said = wanted;
    this.symbols.csvn_port_want(this.context.plane, this.handle, wanted);
  }

  /** There is no room for commands: there will be, or there is by now. */
  #wait(): void {
    if (this.#state !== "running") return;
    this.#done = Math.max(this.#done, this.#look());
    this.#want();
    this.#outbox.send();
  }

  /** Whether there may be more. */
  #hear(): boolean {
    const { plane, buffer } = this.context;
    const bytes = this.symbols.csvn_port_take(plane, this.handle, buffer, buffer.length, this.#progressBytes);
    if (bytes < 0) {
      this.#distrust(`its queue of events: ${bytes}`);
      return false;
    }
    const done = Number(this.#progress[0]);
    if (bytes > 0) this.#deliver(bytes);
    this.#acknowledge(done);
    this.#outbox.send();
    this.#want();
    return bytes > 0 && this.#state === "running";
  }

  /** The count of commands that is waited for. */
  #wanted(): bigint {
    if (!this.#outbox.empty) return BigInt(this.#done + 1);
    const { first = Infinity } = this.#awaited;
    const wanted = Math.min(first, this.#hurried ? this.#patient.first ?? Infinity : Infinity);
    return wanted === Infinity ? NEVER : BigInt(wanted + 1);
  }

  #acknowledge(done: number): void {
    if (done > this.#given) return this.#distrust(`it has done ${done} commands of ${this.#given}`);
    this.#done = Math.max(this.#done, done);
    this.#awaited.done(done);
    this.#patient.done(done);
    if (done >= this.#later) this.#hurried = false;
  }

  /** Handle a batch of events, all of it. */
  #deliver(bytes: number): void {
    try {
      for (const event of decodeEvents(this.context.buffer, bytes)) {
        this.#handle(event);
        if (this.#state !== "running") break;
      }
    } catch (error) {
      if (!(error instanceof PortEventError)) throw error;
      this.#distrust(error.message);
    }
  }

  #handle(event: PortEvent): void {
    this.events++;
    this.context.handled();
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
    this.#kill(`it is not to be believed (${what})`);
  }
}
