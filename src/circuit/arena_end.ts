/**
 * A VM's end of an arena: how it comes into the VM's window, and out of it.
 *
 * Theory of operation. QEMU does not survive a mapping for a device that is not started, and says "mapped" before
 * the guest can see it. So an end is opened in three steps: ARENA_PREPARE and its answer (the driver is there at this moment),
 * SHMEM_MAP, ARENA_MAPPED and its answer (the driver has read the nonce). It is closed the same way backwards. After each step it is looked whether the
 * end is still what it was: BYE may have come in one batch with the answer.
 *
 * Who opens or closes it waits for a bounded time. What comes later is still understood: a mapping that was made late is unmapped, and a driver that
 * says late that it has forgotten the arena gives its place in the window back. Whatever is under way is over at once when the VM goes down, which
 * has lost its mappings then.
 *
 * @module
 */

import type { Clock, Timer } from "../clock.ts";
import { errnoName } from "../errno.ts";
import { background } from "./background.ts";
import type { Limits } from "./limits.ts";
import type { Notice } from "./notices.ts";
import { encodeArenaEvent } from "./records.ts";
import type { Signals } from "./signals.ts";
import type { Vm } from "./vm.ts";

/** Events about arenas, each of which the driver answers. */
export type ArenaEventName = "ARENA_PREPARE" | "ARENA_MAPPED" | "ARENA_RETIRE";

/** An arena could not be opened; the message says why. */
export class ArenaError extends Error {
  override readonly name = "ArenaError";
}

/** What an arena's end is in:
 * - `preparing`: the driver is asked whether it is there;
 * - `mapping`: the front-end is asked to map it;
 * - `announced`: the driver was told where it is;
 * - `visible`: the driver has read the nonce; circuits may be used;
 * - `revoked`: it was taken out of the VM's window by force; the driver may not know, so ids and its place stay taken;
 * - `retiring`: the driver was asked to forget it, and nothing new is put in;
 * - `gone`: nobody is to use it any more; its place is taken until it is certain that nobody does;
 * - `over`: its place is free, or the VM went down, and with it the whole window.
 */
export type ArenaEndState =
  | "preparing"
  | "mapping"
  | "announced"
  | "visible"
  | "revoked"
  | "retiring"
  | "gone"
  | "over";

/** What may follow. */
const next: Readonly<Record<ArenaEndState, readonly ArenaEndState[]>> = {
  preparing: ["mapping", "gone", "over"],
  mapping: ["announced", "gone", "over"],
  announced: ["visible", "retiring", "over"],
  visible: ["revoked", "retiring", "over"],
  revoked: ["retiring", "over"],
  retiring: ["gone", "over"],
  gone: ["over"],
  over: [],
};

/** What an end needs of its switch. */
export interface ArenaEndContext {
  readonly limits: Pick<Limits, "arenaAnswerMs">;
  readonly signals: Signals;
  readonly clock: Clock;
  /** Tells of what a VM keeps of an arena that is over. */
  readonly leftovers: Notice;
  /** An end is over: its driver has forgotten it. */
  readonly left: (end: ArenaEnd) => void;
}

/** What an end waits for: an answer of the driver, or the front-end's to SHMEM_MAP. */
interface Awaited {
  readonly what: ArenaEventName | "SHMEM_MAP";
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  readonly timer: Timer;
}

/** A VM's end of an arena, in a place that was taken from the VM's window. */
export class ArenaEnd {
  #state: ArenaEndState = "preparing";
  #mapped = false;
  /** Requests that the front-end has not answered. */
  #underWay = 0;
  #awaited: Awaited | undefined;
  /** The driver was told of it, and has not said that it has forgotten it. */
  #believed = false;
  /** The driver was asked to forget it. */
  #asked = false;
  readonly #closed = Promise.withResolvers<void>();

  /**
   * @param id The id by which the VM's driver knows it.
   * @param offset Bytes, in the VM's window.
   * @param length Bytes.
   */
  constructor(
    readonly vm: Vm,
    readonly id: number,
    readonly offset: number,
    readonly length: number,
    readonly context: ArenaEndContext,
  ) {}

  /** What it is in. */
  get state(): ArenaEndState {
    return this.#state;
  }

  /** It is, or may be, in the VM's window. */
  get mapped(): boolean {
    return this.#mapped;
  }

  /** Can nothing be done in it any more? */
  get isOut(): boolean {
    return this.#state === "gone" || this.#state === "over";
  }

  /** Map it, and have the driver look at it. Whoever calls this closes it when it fails. @throws {ArenaError} */
  async open(fd: number, nonce: bigint): Promise<void> {
    const { id, offset, length } = this;
    await this.#ask("ARENA_PREPARE", (token) => encodeArenaEvent(token, "ARENA_PREPARE", id));
    this.#become("mapping");
    await this.#map(fd);
    this.#become("announced");
    this.#believed = true;
    const where = { offset, length, nonce };
    await this.#ask("ARENA_MAPPED", (token) => encodeArenaEvent(token, "ARENA_MAPPED", id, where));
    this.#become("visible");
  }

  /** Take it out of the VM's window, whatever its driver does. Its circuits are cut. */
  revoke(): Promise<void> {
    this.#become("revoked");
    return this.unmap();
  }

  /** Have the driver forget it, and take it out of the window. Resolves when it is out, or the VM went down. */
  close(): Promise<void> {
    switch (this.#state) {
      case "preparing":
      case "mapping":
        this.#become("gone");
        this.#settle();
        break;
      case "announced":
      case "visible":
      case "revoked":
        background(this.#retire());
        break;
    }
    return this.#closed.promise;
  }

  /** The driver's answer to an event about it; false when that was not asked. */
  answer(event: ArenaEventName, errno: number): boolean {
    const awaited = this.#awaited;
    if (awaited?.what === event) {
      this.#awaited = undefined;
      awaited.timer.cancel();
      if (errno === 0) awaited.resolve();
      else awaited.reject(new ArenaError(`${this.vm.name} could not use its mapping: ${errnoName(errno)}`));
    } else if (event !== "ARENA_RETIRE" || !this.#asked || !this.#believed) return false;
    if (event === "ARENA_RETIRE" && errno === 0) {
      this.#believed = false;
      this.#settle();
    }
    return true;
  }

  /** The VM went down: its mappings are gone, and its window with them. */
  down(): void {
    if (this.#state === "over") return;
    this.#mapped = false;
    this.#become("over");
    this.#fail(new ArenaError(`${this.vm.name} went down`));
    this.#closed.resolve();
  }

  /** Unmap it, when it is mapped; a front-end that cannot leaves a line in the log. */
  async unmap(): Promise<void> {
    const { vm, offset, length } = this;
    // A device that is not started has no mappings, and QEMU would not survive it.
    if (!this.#mapped || vm.state !== "ready") return;
    this.#mapped = false;
    this.#underWay++;
    try {
      await vm.mapper.unmap(offset, length);
    } catch (error) {
      if (this.#state !== "over") {
        this.context.leftovers.tell(vm.name, "arena {id} of {vm} could not be unmapped: {reason}", {
          id: this.id,
          vm: vm.name,
          reason: (error as Error).message,
        });
        this.#mapped = true;
      }
    } finally {
      this.#underWay--;
      this.#settle();
    }
  }

  #become(state: ArenaEndState): void {
    // Between a step and the next one it may have gone down.
    if (this.#state === "over") throw new ArenaError(`${this.vm.name} went down`);
    if (!next[this.#state].includes(state)) throw new Error(`an arena's end cannot go from ${this.#state} to ${state}`);
    this.#state = state;
  }

  async #retire(): Promise<void> {
    const { vm, id } = this;
    // What the driver has not seen, or cannot use, is not waited for.
    const seen = this.#state !== "announced";
    this.#become("retiring");
    if (!seen) await this.unmap();
    try {
      this.#asked = true;
      await this.#ask("ARENA_RETIRE", (token) => encodeArenaEvent(token, "ARENA_RETIRE", id));
    } catch (error) {
      const names = { reason: (error as Error).message, vm: vm.name };
      if (this.#state === "retiring") this.context.leftovers.tell(vm.name, "{reason}", names);
    }
    await this.unmap();
    if (this.#state !== "retiring") return;
    this.#become("gone");
    this.#settle();
  }

  /** Ask the front-end to map it, and wait for its answer. An unmapping that is asked for meanwhile comes after it. */
  async #map(fd: number): Promise<void> {
    const { vm, offset, length } = this;
    this.#mapped = true;
    this.#underWay++;
    await this.#await("SHMEM_MAP", (awaited) => {
      background(
        vm.mapper.map(fd, offset, length).then(() => undefined, (error: Error) => error).then((error) => {
          this.#underWay--;
          if (error) this.#mapped = false;
          if (this.#awaited === awaited) {
            this.#awaited = undefined;
            awaited.timer.cancel();
            if (error) awaited.reject(new ArenaError(error.message));
            else awaited.resolve();
          } else if (this.#state === "gone") {
            // Nobody waited for it any more.
            return this.unmap().then(() => this.#settle());
          }
        }),
      );
    });
  }

  #ask(event: ArenaEventName, encode: (token: bigint) => Uint8Array): Promise<void> {
    return this.#await(event, (awaited) => {
      if (this.context.signals.announce(this.vm, encode) || this.#awaited !== awaited) return;
      this.#fail(new ArenaError(`${this.vm.name} is not ready`));
    });
  }

  /** Begin something, and wait for its end: within a time, and while the end is in the state in which it began. @throws {ArenaError} */
  async #await(what: Awaited["what"], begin: (awaited: Awaited) => void): Promise<void> {
    const { vm, context: { clock, limits } } = this;
    const state = this.#state;
    if (this.isOut) throw new ArenaError(`${vm.name} went down`);
    await new Promise<void>((resolve, reject) => {
      const late = `${vm.name} did not answer ${what} within ${limits.arenaAnswerMs} ms`;
      const timer = clock.after(limits.arenaAnswerMs, () => this.#fail(new ArenaError(late)));
      begin(this.#awaited = { what, resolve, reject, timer });
    });
    // BYE may have come in one batch with the answer.
    if (this.#state !== state) throw new ArenaError(`${vm.name} went down`);
  }

  /** What is waited for does not come. */
  #fail(error: Error): void {
    const awaited = this.#awaited;
    this.#awaited = undefined;
    awaited?.timer.cancel();
    awaited?.reject(error);
  }

  /** It is out: tell so once nothing is under way, and give its place back once nobody can believe that it is there. */
  #settle(): void {
    if (this.#state !== "gone" || this.#underWay > 0) return;
    this.#closed.resolve();
    if (this.#believed || this.#mapped) return;
    this.#become("over");
    this.vm.window.give(this.offset, this.length);
    this.context.left(this);
  }
}
