/**
 * Zeroing arenas, in a process of its own (`lib/janitor`): whoever has an arena can hold its inode's lock for as long as they like, and a process that waits for that cannot
 * even be killed.
 *
 * Theory of operation. There is one janitor, which does what it is told in that order. One that does nothing for a while is killed, and what it had not done, another one
 * does: zeroing twice is as good as once, and nobody has got it meanwhile. But what it was at when it stuck is *abandoned*, with all that is to be done to the same arena: it
 * may be done at any time, or never, and so that arena is of no more use. So whoever holds a lock loses arenas that are their own, and costs others a moment.
 *
 * A janitor that is stuck is a process that cannot be ended, so there are to be few: nothing is done to arenas of a VM on whose account so many are stuck already. And it has the
 * descriptors of all arenas that it was given, whose memory is there as long: so it is taken from these before they are closed.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Timer } from "../clock.ts";
import { Errno, SystemError } from "../errno.ts";
import { Command, Layout } from "./abi.ts";
import { Places } from "./places.ts";
import { Port, type PortsContext } from "./port.ts";

const log = getLogger(["csvn", "janitor"]);

/** Milliseconds between two looks whether it goes on. Between the last two, what it has told before is heard. */
const LOOK_MS = 500;
/** So many looks it may have done nothing. */
const LOOKS = 2;
const ARENAS_MAX = 1 << 20;
/** Milliseconds until one is started again that could not be. */
const AGAIN_MS = 1000;
/** So often the same may be tried, where a janitor ended meanwhile. */
const TRIES = 3;

/** Janitors that may be stuck at the arenas of one VM. */
const STUCK_VM = 4;
/** Janitors that may be stuck, of all. */
const STUCK_ALL = 64;

/** What is to be zeroed. */
export interface Swept {
  readonly fd: number;
  /** Bytes. */
  readonly length: number;
  /** The VMs that have it. */
  readonly vms: readonly string[];
}

interface Job {
  readonly arena: Swept;
  readonly range: Uint8Array<ArrayBuffer>;
  readonly done: PromiseWithResolvers<number>;
  tries: number;
}

/** A process, and what it has been told and not done yet. */
interface Worker {
  readonly port: Port;
  readonly jobs: Set<Job>;
  readonly arenas: Map<Swept, number>;
  readonly numbers: Places;
  started: boolean;
  /** Looks, one after the other, at which it had done nothing. */
  idle: number;
}

/** Zeroes arenas. */
export class Janitor {
  /** Arenas that nothing can be done about any more, until they are closed. */
  readonly #abandoned = new WeakSet<Swept>();
  /** Descriptors that are on their way. */
  readonly #giving = new Map<Swept, Promise<void>>();
  /** Janitors that are not over, by their handles. */
  readonly #ports = new Map<number, Port>();
  /** Those of them that were killed, and what they were at. */
  readonly #stuck = new Map<Worker, Swept | undefined>();
  #worker: Worker | undefined;
  /** What nobody can do for the moment. */
  #waiting: Job[] = [];
  #again: Timer | undefined;
  #watch: Timer | undefined;
  #closed = false;

  constructor(readonly context: PortsContext) {}

  /** One of its processes has ended. */
  ended(handle: number, reason: string): boolean {
    const port = this.#ports.get(handle);
    port?.lost(reason);
    return port !== undefined;
  }

  /** Its processes. */
  get processes(): number[] {
    return [...this.#ports.values()].map(({ pid }) => pid).filter((pid) => pid !== undefined);
  }

  /**
   * Zero a range of an arena; see {@linkcode ArenaMemory.wipe}. Rejects with a {@linkcode SystemError} when that cannot be, and it is not known whether it
   * will be done yet.
   */
  wipe(arena: Swept, offset: number, length: number, keep: number): Promise<number> {
    const range = new Uint8Array(Layout.wipe.size);
    const view = new DataView(range.buffer);
    view.setBigUint64(Layout.wipe.offset, BigInt(offset), true);
    view.setBigUint64(Layout.wipe.bytes, BigInt(length), true);
    view.setUint32(Layout.wipe.keep, keep, true);
    const job: Job = { arena, range, done: Promise.withResolvers<number>(), tries: 0 };
    this.#submit(job);
    return job.done.promise;
  }

  /** An arena is about to be closed: nothing more is asked for. Resolves when its descriptor may be; it never rejects. */
  async leave(arena: Swept): Promise<void> {
    if ([...this.#stuck.keys()].some(({ arenas }) => arenas.has(arena))) {
      await this.wipe(arena, 0, arena.length, 0).catch(() => {});
    }
    // What was asked for before may have to be done by another janitor, which cannot be given it any more.
    this.#abandoned.add(arena);
    await this.#giving.get(arena);
    const worker = this.#worker;
    const number = worker?.arenas.get(arena);
    if (!worker || number === undefined) return;
    worker.arenas.delete(arena);
    worker.port.command(Command.UNARENA, number);
    worker.numbers.give(number);
  }

  /** No more is done. */
  close(): void {
    this.#closed = true;
    this.#again?.cancel();
    this.#watch?.cancel();
    for (const job of this.#waiting.splice(0)) this.#abandon(job);
    for (const port of [...this.#ports.values()]) port.end();
  }

  /** Is there one that has yet to do what it was told before its end? One that was killed is not waited for. */
  get ends(): boolean {
    return [...this.#ports.values()].some(({ gone }) => !gone);
  }

  /** Let go of those that are stuck. */
  release(): void {
    for (const port of [...this.#ports.values()]) port.release();
  }

  #submit(job: Job): void {
    if (this.#closed || this.#abandoned.has(job.arena) || this.#isFutile(job.arena)) return this.#abandon(job);
    if (!this.#again) this.#worker ??= this.#begin();
    const worker = this.#worker;
    if (!worker) return void this.#waiting.push(job);
    let number = worker.arenas.get(job.arena);
    if (number === undefined) number = this.#give(worker, job.arena);
    worker.jobs.add(job);
    const settle = (act: () => void) => {
      if (worker.jobs.delete(job)) act();
    };
    worker.port.ask("zero an arena's pages", Command.WIPE, number, 0, job.range).then(
      (kept) => settle(() => job.done.resolve(kept)),
      (error: SystemError) => {
        // Of one that is gone, {@linkcode Janitor.#over} takes care.
        if (error.errno !== Errno.ECONNRESET) settle(() => job.done.reject(error));
      },
    );
    this.#look();
  }

  /** Is it too likely that a janitor would be stuck at it? */
  #isFutile({ vms }: Swept): boolean {
    if (this.#stuck.size >= STUCK_ALL) return true;
    if (this.#stuck.size < STUCK_VM) return false;
    const all = [...this.#stuck.values()].flatMap((arena) => arena?.vms ?? []);
    return vms.some((vm) => all.filter((other) => other === vm).length >= STUCK_VM);
  }

  /** Have a janitor take an arena: its number. */
  #give(worker: Worker, arena: Swept): number {
    const number = worker.numbers.take()!;
    worker.arenas.set(arena, number);
    const { file, given } = worker.port.give(arena.fd);
    const gone = () => void (this.#giving.get(arena) === given && this.#giving.delete(arena));
    this.#giving.set(arena, given);
    given.then(gone, gone);
    // What it cannot take it says again for each range.
    worker.port.ask("take an arena", Command.ARENA, number, file).catch(() => {});
    return number;
  }

  #begin(): Worker | undefined {
    const { library, plane } = this.context;
    const handle = library.symbols.csvn_janitor_add(plane);
    if (handle < 0) return this.#wait(`there is no room for one: errno ${-handle}`);
    const port = new Port(this.context, handle);
    const worker: Worker = {
      port,
      jobs: new Set(),
      arenas: new Map(),
      numbers: new Places(ARENAS_MAX),
      started: false,
      idle: 0,
    };
    this.#ports.set(handle, port);
    port.title = "the janitor";
    port.ended = (reason) => this.#over(worker, reason);
    port.over = () => {
      this.#ports.delete(handle);
      this.#stuck.delete(worker);
    };
    port.start().then(() => worker.started = true, (error: Error) => port.lost(error.message));
    return worker;
  }

  /** There is none for the moment. */
  #wait(reason: string): undefined {
    log.error("no janitor can be started, arenas are not used again: {reason}", { reason });
    this.#again ??= this.context.clock.after(AGAIN_MS, () => {
      this.#again = undefined;
      this.#resume(this.#waiting.splice(0));
    });
    return undefined;
  }

  #resume(jobs: Iterable<Job>): void {
    for (const job of jobs) this.#submit(job);
  }

  #abandon(job: Job): void {
    job.done.reject(new SystemError("zero an arena's pages", Errno.EBUSY));
  }

  /** A janitor is gone, or was told to go. */
  #over(worker: Worker, reason: string): void {
    const killed = worker.port.state !== "over";
    if (this.#worker === worker) this.#worker = undefined;
    if (!this.#closed && !killed) log.error("the janitor has ended ({reason})", { reason });
    const jobs = [...worker.jobs];
    worker.jobs.clear();
    if (killed) {
      // It may not be gone for ever: what it was at may be done yet, nothing else.
      const at = jobs[0]?.arena;
      this.#stuck.set(worker, at);
      if (at) this.#abandoned.add(at);
      return this.#resume(jobs);
    }
    if (!worker.started && !this.#closed) {
      for (const job of jobs) this.#waiting.push(job);
      return this.#wait(reason);
    }
    for (const job of jobs) {
      if (++job.tries < TRIES) this.#submit(job);
      else this.#abandon(job);
    }
  }

  /** Look in a while whether it goes on. */
  #look(): void {
    const worker = this.#worker;
    if (this.#watch || !worker) return;
    const { done } = worker.port.progress();
    this.#watch = this.context.clock.after(LOOK_MS, () => {
      this.#watch = undefined;
      // It may be another one's turn by now.
      if (this.#worker !== worker) return this.#look();
      if (worker.jobs.size === 0) {
        worker.idle = 0;
        return;
      }
      worker.idle = worker.started && worker.port.progress().done === done ? worker.idle + 1 : 0;
      if (worker.idle === LOOKS) {
        worker.port.fail(`it has done nothing about an arena for ${LOOKS * LOOK_MS} ms, which is abandoned`);
      }
      this.#look();
    });
  }
}
