/**
 * The arenas of all pairs of VMs: opened when a pair's first circuit needs one, retired when they have been empty for a while.
 *
 * Theory of operation. QEMU does not survive a mapping for a device that is not started, and says "mapped" before
 * the guest can see it. So each end of an arena is opened in three steps: ARENA_PREPARE and its answer (the driver is there at this moment),
 * SHMEM_MAP, ARENA_MAPPED and its answer (the driver has read the nonce). Retiring goes the same way backwards. Each answer is waited
 * for for a bounded time, and all waiting ends at once when the VM goes down. A VM that goes down has lost its mappings; the memory lives on
 * while the peer's circuits are in it.
 *
 * An arena is *revoked* when policy has cut all that is in it: two drivers that take no notice would share memory on. It is retired as soon as they have
 * closed their circuits, and after a while it is taken away, which needs no driver; those who are merely slow find zeros in it.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { errnoName } from "../errno.ts";
import { Arena, type ArenaEnd } from "./arena.ts";
import type { Limits } from "./limits.ts";
import type { HostStack } from "./host.ts";
import type { ArenaMemoryFactory } from "./plane.ts";
import { encodeArenaEvent } from "./records.ts";
import type { Signals } from "./signals.ts";
import type { Vm } from "./vm.ts";

const log = getLogger(["csvn", "arena"]);

type ArenaEventName = "ARENA_PREPARE" | "ARENA_MAPPED" | "ARENA_RETIRE";

/** An arena could not be opened; the message says why. */
export class ArenaError extends Error {
  override readonly name = "ArenaError";
}

/** The host's stack, as one end of a pair. */
export const HOST = Symbol("host");
/** Who can be an end of a pair. */
export type Party = Vm | typeof HOST;

interface Pair {
  readonly vm: Vm;
  readonly peer: Party;
  arenas: Arena[];
  opening: Promise<void> | undefined;
  /** Bytes of the next arena. */
  nextBytes: number;
}

interface Question {
  readonly event: ArenaEventName;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** All arenas of a switch. */
export class Arenas implements Disposable {
  readonly #pairs = new Map<Party, Map<Party, Pair>>();
  readonly #live = new Map<string, Arena>();
  readonly #questions = new Map<ArenaEnd, Question>();
  readonly #idle = new Map<Arena, ReturnType<typeof setTimeout>>();
  readonly #revoking = new Map<Arena, ReturnType<typeof setTimeout>>();
  /** Arenas whose free slots may have memory. */
  readonly #warm = new Set<Arena>();
  #trimming: ReturnType<typeof setTimeout> | undefined;
  #count = 0;

  constructor(
    readonly limits: Limits,
    readonly memory: ArenaMemoryFactory,
    readonly signals: Signals,
    readonly host: HostStack,
  ) {}

  /** All arenas that have memory. */
  get all(): Iterable<Arena> {
    return this.#live.values();
  }

  /** Is this file an arena? By {@linkcode ArenaMemory.identity}. */
  has(identity: string): boolean {
    return this.#live.has(identity);
  }

  /** A free slot between a VM and another, or the host's stack; undefined when an arena must be opened first. */
  takeSlot(a: Vm, b: Party): { arena: Arena; slot: number } | undefined {
    for (const arena of this.#pair(a, b).arenas) {
      if (!arena.usable) continue;
      const slot = arena.takeSlot();
      if (slot === undefined) continue;
      clearTimeout(this.#idle.get(arena));
      this.#idle.delete(arena);
      return { arena, slot };
    }
    return undefined;
  }

  /** Open another arena between a VM and another, or the host's stack; those who ask meanwhile share it. @throws {ArenaError} */
  open(a: Vm, b: Party): Promise<void> {
    const pair = this.#pair(a, b);
    pair.opening ??= this.#open(pair).finally(() => pair.opening = undefined);
    return pair.opening;
  }

  /** Give a slot back. */
  giveSlot(arena: Arena, slot: number): void {
    arena.giveSlot(slot);
    this.#warm.add(arena);
    this.#trimming ??= setTimeout(() => this.#trim(), this.limits.warmMs);
    if (arena.circuits > 0) return;
    if (arena.revoked || arena.ends.some((end) => end.state === "gone")) this.#retire(arena);
    else this.#idle.set(arena, setTimeout(() => this.#retire(arena), this.limits.arenaIdleMs));
  }

  /** Policy has cut all that is in an arena. */
  revoke(arena: Arena): void {
    if (arena.revoked) return;
    arena.revoked = true;
    this.#revoking.set(arena, setTimeout(() => this.#takeAway(arena), this.limits.revokeMs));
  }

  /** A VM's device runs on without its driver, or with another one: its window is emptied. */
  clearWindow(vm: Vm): void {
    for (const arena of vm.arenas.values()) void this.#unmap(arena, arena.endOf(vm)!);
  }

  /**
   * A VM's driver says goodbye, and is about to reset its device: its window is emptied before it may. One after the other and for
   * a bounded time, since it will not wait for ever, and QEMU does not survive one that comes too late.
   *
   * @returns undefined when nothing is in it.
   */
  leaveWindow(vm: Vm): Promise<void> | undefined {
    const mapped = [...vm.arenas.values()].filter((arena) => arena.endOf(vm)!.mapped)
      .map((arena) => ({ offset: arena.endOf(vm)!.offset, length: arena.memory.length }));
    return mapped.length === 0 ? undefined : this.#emptyWindow(vm, mapped);
  }

  /** A driver's answer to an event about one of its arenas; false when nothing was asked. */
  answer(vm: Vm, id: number, event: ArenaEventName, errno: number): boolean {
    const end = vm.arenas.get(id)?.endOf(vm);
    const question = end && this.#questions.get(end);
    if (!question || question.event !== event) return false;
    this.#questions.delete(end);
    clearTimeout(question.timer);
    if (errno !== 0) question.reject(new ArenaError(`${vm.name} could not use its mapping: ${errnoName(errno)}`));
    else question.resolve();
    return true;
  }

  /** A VM went down: its mappings are gone. */
  vmDown(vm: Vm): void {
    for (const arena of [...vm.arenas.values()]) {
      const end = arena.endOf(vm);
      if (!end) continue;
      end.state = "gone";
      end.mapped = false;
      const question = this.#questions.get(end);
      this.#questions.delete(end);
      clearTimeout(question?.timer);
      question?.reject(new ArenaError(`${vm.name} went down`));
      this.#forget(arena);
      // While the other end is still being opened, #open sees to what becomes of it.
      if (arena.circuits === 0 && !arena.ends.some(({ state }) => state === "opening")) this.#retire(arena);
    }
    vm.arenas.clear();
    for (const peer of this.#pairs.get(vm)?.keys() ?? []) this.#pairs.get(peer)?.delete(vm);
    this.#pairs.delete(vm);
  }

  [Symbol.dispose](): void {
    for (const timer of [...this.#idle.values(), ...this.#revoking.values()]) clearTimeout(timer);
    for (const question of this.#questions.values()) {
      clearTimeout(question.timer);
      question.reject(new ArenaError("the switch stops"));
    }
    for (const arena of this.#live.values()) arena[Symbol.dispose]();
    clearTimeout(this.#trimming);
    this.#warm.clear();
    this.#idle.clear();
    this.#revoking.clear();
    this.#questions.clear();
    this.#live.clear();
    this.#pairs.clear();
  }

  #pair(a: Vm, b: Party): Pair {
    const known = this.#pairs.get(a)?.get(b);
    if (known) return known;
    const pair: Pair = { vm: a, peer: b, arenas: [], opening: undefined, nextBytes: this.limits.arenaBytes };
    for (const [one, other] of [[a, b], [b, a]] as const) {
      const peers = this.#pairs.get(one) ?? new Map<Party, Pair>();
      peers.set(other, pair);
      this.#pairs.set(one, peers);
    }
    return pair;
  }

  async #open(pair: Pair): Promise<void> {
    const arena = this.#make(pair);
    // Both to their ends, so that nothing is under way when the arena is given up.
    const results = await Promise.allSettled(arena.ends.map((end) => this.#openEnd(arena, end)));
    const failed = results.find((result) => result.status === "rejected");
    const gone = arena.ends.find(({ state }) => state === "gone");
    if (failed || gone) {
      this.#retire(arena);
      throw new ArenaError(failed ? (failed.reason as Error).message : `${gone!.vm.name} went down`);
    }
    pair.arenas.push(arena);
    pair.nextBytes = Math.min(2 * pair.nextBytes, this.limits.arenaMaxBytes);
    log.info("arena {arena} opened for {vms}: {mebibytes} MiB, {slots} slots", {
      arena: arena.number,
      vms: arena.ends.map((end) => end.vm.name).concat(arena.host ? ["the host's stack"] : []).join(" and "),
      mebibytes: arena.memory.length / 2 ** 20,
      slots: arena.slotCount,
    });
  }

  #make(pair: Pair): Arena {
    const length = pair.nextBytes;
    const vms = pair.peer === HOST || pair.peer === pair.vm ? [pair.vm] : [pair.vm, pair.peer];
    const ends: ArenaEnd[] = [];
    for (const vm of vms) {
      const offset = vm.window.take(length);
      if (offset === undefined) {
        for (const end of ends) end.vm.window.give(end.offset, length);
        throw new ArenaError(`the window of ${vm.name} is full`);
      }
      ends.push({ vm, id: vm.nextArenaId(), offset, state: "opening", mapped: false });
    }
    let arena: Arena;
    try {
      arena = new Arena(++this.#count, this.memory(length), this.limits.ringBytes, ends, this.limits);
      if (pair.peer === HOST) arena.host = this.host.mapArena(arena.memory);
    } catch (error) {
      for (const end of ends) end.vm.window.give(end.offset, length);
      throw error;
    }
    for (const end of ends) end.vm.arenas.set(end.id, arena);
    this.#live.set(arena.memory.identity, arena);
    return arena;
  }

  async #openEnd(arena: Arena, end: ArenaEnd): Promise<void> {
    try {
      await this.#mapEnd(arena, end);
      // BYE may have come in one batch with the last answer.
      if (end.state === "gone") throw new ArenaError(`${end.vm.name} went down`);
      end.state = "visible";
    } catch (error) {
      // The driver may believe that it is there: its place in the window stays taken until the VM's next driver.
      end.state = "gone";
      await this.#unmap(arena, end);
      throw error;
    }
  }

  async #mapEnd(arena: Arena, end: ArenaEnd): Promise<void> {
    const { vm, id, offset } = end;
    const length = arena.memory.length;
    await this.#ask(end, "ARENA_PREPARE", (token) => encodeArenaEvent(token, "ARENA_PREPARE", id));
    // From now on: an unmapping that is asked for meanwhile comes after it.
    end.mapped = true;
    try {
      await vm.mapper.map(arena.memory.fd, offset, length);
    } catch (error) {
      end.mapped = false;
      throw error;
    }
    if (end.state === "gone") throw new ArenaError(`${vm.name} went down`);
    await this.#ask(
      end,
      "ARENA_MAPPED",
      (token) => encodeArenaEvent(token, "ARENA_MAPPED", id, { offset, length, nonce: arena.nonce }),
    );
  }

  /** Memory that free slots keep goes back to the system, where they do not need it. */
  #trim(): void {
    for (const arena of this.#warm) {
      try {
        if (!arena.trim()) this.#warm.delete(arena);
      } catch (error) {
        // What could not be punched is in no slot that anybody gets.
        log.error("arena {arena} keeps memory: {reason}", { arena: arena.number, reason: (error as Error).message });
      }
    }
    this.#trimming = this.#warm.size > 0 ? setTimeout(() => this.#trim(), this.limits.warmMs) : undefined;
  }

  /** Nothing new is put in it. */
  #forget(arena: Arena): void {
    const [first] = arena.ends;
    const peer = arena.host ? HOST : (arena.ends[1] ?? first)?.vm;
    const pair = first && peer && this.#pairs.get(first.vm)?.get(peer);
    if (pair) pair.arenas = pair.arenas.filter((other) => other !== arena);
  }

  /** Its circuits are cut, and their drivers have had their time. */
  #takeAway(arena: Arena): void {
    this.#revoking.delete(arena);
    log.warn("arena {arena} is taken away from {vms}, which hold {circuits} circuits in it that were cut", {
      arena: arena.number,
      vms: arena.ends.map((end) => end.vm.name).join(" and "),
      circuits: arena.circuits,
    });
    const ends = arena.ends.filter(({ state }) => state === "visible");
    for (const end of ends) end.state = "revoked";
    Promise.all(ends.map((end) => this.#unmap(arena, end))).then(() => {
      if (this.#live.has(arena.memory.identity)) arena.empty();
    });
  }

  async #emptyWindow(vm: Vm, mapped: { offset: number; length: number }[]): Promise<void> {
    const deadline = performance.now() + this.limits.byeMs;
    try {
      for (const { offset, length } of mapped) {
        if (performance.now() >= deadline) throw new ArenaError(`it took longer than ${this.limits.byeMs} ms`);
        await vm.mapper.unmap(offset, length);
      }
    } catch (error) {
      log.warn("the window of {vm} was not emptied: {reason}", { vm: vm.name, reason: (error as Error).message });
    }
  }

  /** Take an end out of its VM's window, whatever its driver does. */
  async #unmap(arena: Arena, end: ArenaEnd): Promise<void> {
    // A device that is not started has no mappings, and QEMU would not survive it.
    if (!end.mapped || end.vm.state !== "ready") return;
    end.mapped = false;
    try {
      await end.vm.mapper.unmap(end.offset, arena.memory.length);
    } catch (error) {
      log.warn("arena {arena} could not be taken from {vm}: {reason}", {
        arena: arena.number,
        vm: end.vm.name,
        reason: (error as Error).message,
      });
      end.mapped = true;
    }
  }

  #retire(arena: Arena): void {
    clearTimeout(this.#idle.get(arena));
    this.#idle.delete(arena);
    clearTimeout(this.#revoking.get(arena));
    this.#revoking.delete(arena);
    this.#forget(arena);
    const living = arena.ends.filter(({ state }) => state === "visible" || state === "revoked");
    Promise.allSettled(living.map((end) => this.#retireEnd(arena, end))).then((results) => {
      for (const result of results) {
        if (result.status === "rejected") {
          log.warn("arena {arena}: {reason}", { arena: arena.number, reason: (result.reason as Error).message });
        }
      }
      // A VM that goes down meanwhile comes here as well.
      if (arena.ends.some((end) => end.state === "retiring") || !this.#live.delete(arena.memory.identity)) return;
      for (const end of arena.ends) end.vm.arenas.delete(end.id);
      this.#warm.delete(arena);
      arena[Symbol.dispose]();
      log.info("arena {arena} closed", { arena: arena.number });
    });
  }

  async #retireEnd(arena: Arena, end: ArenaEnd): Promise<void> {
    const { vm, id, offset } = end;
    end.state = "retiring";
    let answered = false;
    try {
      await this.#ask(end, "ARENA_RETIRE", (token) => encodeArenaEvent(token, "ARENA_RETIRE", id));
      answered = true;
    } finally {
      await this.#unmap(arena, end);
      const gone = (end.state as ArenaEnd["state"]) === "gone";
      end.state = "gone";
      // Without an answer the driver may believe that it is there: its place in the window stays taken until the next one.
      if (answered && !gone && !end.mapped) vm.window.give(offset, arena.memory.length);
    }
  }

  #ask(end: ArenaEnd, event: ArenaEventName, encode: (token: bigint) => Uint8Array): Promise<void> {
    const { vm } = end;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#questions.delete(end);
        reject(new ArenaError(`${vm.name} did not answer ${event} within ${this.limits.arenaAnswerMs} ms`));
      }, this.limits.arenaAnswerMs);
      this.#questions.set(end, { event, resolve, reject, timer });
      if (!this.signals.announce(vm, encode)) {
        this.#questions.delete(end);
        clearTimeout(timer);
        reject(new ArenaError(`${vm.name} is not ready`));
      }
    });
  }
}
