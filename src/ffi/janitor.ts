/**
 * Zeroing arenas, in a process of its own (`lib/janitor`): whoever has an arena can hold its inode's lock for as long as they like, and a process that waits for that cannot
 * even be killed.
 *
 * Theory of operation. A janitor does what it is told in that order. One that does nothing for a while is killed, and what it had not done, another one
 * does: zeroing twice is as good as once, and nobody has got it meanwhile. But what it was at when it stuck is *abandoned*, with all that is to be done to the same arena: it
 * may be done at any time, or never, and so that arena is of no more use. So whoever holds a lock loses arenas that are their own, and costs others a moment.
 *
 * Who holds a lock for moments, again and again, keeps the janitor waiting as well, and everybody else behind it. It counts what each arena costs it, and refuses one that costs too
 * much. Those have a janitor of their own, a *patient* one.
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
  /** Descriptors that are on their way. */
  readonly giving: Map<Swept, Promise<void>>;
  readonly numbers: Places;
  started: boolean;
  /** Looks, one after the other, at which it had done nothing. */
  idle: number;
}

/** A janitor after the other. */
interface Lane {
  readonly patient: boolean;
  worker: Worker | undefined;
  /** What nobody can do for the moment. */
  waiting: Job[];
  again: Timer | undefined;
  watch: Timer | undefined;
}

const lane = (patient: boolean): Lane => ({
  patient,
  worker: undefined,
  waiting: [],
  again: undefined,
  watch: undefined,
});

/** Zeroes arenas. */
export class Janitor {
  /** Arenas that nothing can be done about any more, until they are closed. */
  readonly #abandoned = new WeakSet<Swept>();
  /** Arenas that a janitor was kept waiting for. */
  readonly #slow = new WeakSet<Swept>();
  /** Janitors that are not over, by their handles. */
  readonly #ports = new Map<number, Port>();
  /** Those of them that were killed, and what they were at. */
  readonly #stuck = new Map<Worker, Swept | undefined>();
  readonly #prompt: Lane = lane(false);
  readonly #patient: Lane = lane(true);
  readonly #lanes: readonly Lane[] = [this.#prompt, this.#patient];
  #closed = false;

  constructor(readonly context: PortsContext) {}

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
    await Promise.all(this.#lanes.map(({ worker }) => worker && this.#takeFrom(worker, arena)));
  }

  /** No more is done. */
  close(): void {
    this.#closed = true;
    for (const lane of this.#lanes) {
      lane.again?.cancel();
      lane.watch?.cancel();
      for (const job of lane.waiting.splice(0)) this.#abandon(job);
    }
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
    const lane = this.#slow.has(job.arena) ? this.#patient : this.#prompt;
    if (!lane.again) lane.worker ??= this.#begin(lane);
    const { worker } = lane;
    if (!worker) return void lane.waiting.push(job);
    let number = worker.arenas.get(job.arena);
    if (number === undefined) number = this.#give(worker, job.arena);
    worker.jobs.add(job);
    const settle = (act: () => void) => {
      if (worker.jobs.delete(job)) act();
    };
    new DataView(job.range.buffer).setUint32(Layout.wipe.patient, lane.patient ? 1 : 0, true);
    worker.port.ask("zero an arena's pages", Command.WIPE, number, 0, job.range, true).then(
      (kept) => settle(() => job.done.resolve(kept)),
      (error: SystemError) => {
        // Of one that is gone, {@linkcode Janitor.#over} takes care.
        if (error.errno !== Errno.ECONNRESET) settle(() => this.#failed(lane, job, error));
      },
    );
    this.#look(lane);
  }

  #failed(lane: Lane, job: Job, error: SystemError): void {
    if (lane.patient || error.errno !== Errno.EAGAIN) return job.done.reject(error);
    this.#slow.add(job.arena);
    this.#submit(job);
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
    worker.giving.set(arena, given);
    const gone = () => void worker.giving.delete(arena);
    given.then(gone, gone);
    // What it cannot take it says again for each range.
    worker.port.ask("take an arena", Command.ARENA, number, file).catch(() => {});
    return number;
  }

  /** A janitor has no more to do with an arena. Resolves when its descriptor may be closed. */
  async #takeFrom(worker: Worker, arena: Swept): Promise<void> {
    await worker.giving.get(arena);
    const number = worker.arenas.get(arena);
    if (number === undefined) return;
    worker.arenas.delete(arena);
    worker.port.command(Command.UNARENA, number);
    worker.numbers.give(number);
  }

  #begin(lane: Lane): Worker | undefined {
    const { library, plane } = this.context;
    const handle = library.symbols.csvn_janitor_add(plane);
    if (handle < 0) return this.#wait(lane, `there is no room for one: errno ${-handle}`);
    const port = new Port(this.context, handle);
    const worker: Worker = {
      port,
      jobs: new Set(),
      arenas: new Map(),
      giving: new Map(),
      numbers: new Places(ARENAS_MAX),
      started: false,
      idle: 0,
    };
    this.#ports.set(handle, port);
    port.title = lane.patient ? "the patient janitor" : "the janitor";
    port.name = "its process";
    port.ended = (reason) => this.#over(lane, worker, reason);
    port.over = () => {
      this.#ports.delete(handle);
      this.#stuck.delete(worker);
    };
    port.start().then(() => worker.started = true, (error: Error) => port.lost(error.message));
    return worker;
  }

  /** There is none for the moment. */
  #wait(lane: Lane, reason: string): undefined {
    log.error("no janitor can be started, arenas are not used again: {reason}", { reason });
    lane.again ??= this.context.clock.after(AGAIN_MS, () => {
      lane.again = undefined;
      this.#resume(lane.waiting.splice(0));
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
  #over(lane: Lane, worker: Worker, reason: string): void {
    const killed = worker.port.state !== "over";
    if (lane.worker === worker) lane.worker = undefined;
    if (!this.#closed && !killed) log.error("{title} has ended ({reason})", { title: worker.port.title, reason });
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
      for (const job of jobs) lane.waiting.push(job);
      return this.#wait(lane, reason);
    }
    for (const job of jobs) {
      if (++job.tries < TRIES) this.#submit(job);
      else this.#abandon(job);
    }
  }

  /** Look in a while whether it goes on. */
  #look(lane: Lane): void {
    const { worker } = lane;
    if (lane.watch || !worker) return;
    const { done } = worker.port.progress();
    lane.watch = this.context.clock.after(LOOK_MS, () => {
      lane.watch = undefined;
      // It may be another one's turn by now.
      if (lane.worker !== worker) return this.#look(lane);
      if (worker.jobs.size === 0) {
        worker.idle = 0;
        return;
      }
      worker.idle = worker.started && worker.port.progress().done === done ? worker.idle + 1 : 0;
      if (worker.idle === LOOKS) {
        worker.port.fail(`it has done nothing about an arena for ${LOOKS * LOOK_MS} ms, which is abandoned`);
      }
      this.#look(lane);
    });
  }
}
