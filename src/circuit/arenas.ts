/**
 * The arenas of all pairs of VMs: opened when a pair's first circuit needs one, retired when they have been empty for a while.
 *
 * Theory of operation. QEMU does not survive a mapping for a device that is not started, and says "mapped" before
 * the guest can see it. So each end of an arena is opened in three steps: ARENA_PREPARE and its answer (the driver is there at this moment),
 * SHMEM_MAP, ARENA_MAPPED and its answer (the driver has read the nonce). Retiring goes the same way backwards. Each answer is waited
 * for for a bounded time, and all waiting ends at once when the VM goes down. A VM that goes down has lost its mappings; the memory lives on
 * while the peer's circuits are in it.
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
    if (arena.circuits > 0) return;
    if (arena.ends.some((end) => end.state === "gone")) this.#retire(arena);
    else this.#idle.set(arena, setTimeout(() => this.#retire(arena), this.limits.arenaIdleMs));
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
    for (const timer of this.#idle.values()) clearTimeout(timer);
    for (const question of this.#questions.values()) {
      clearTimeout(question.timer);
      question.reject(new ArenaError("the switch stops"));
    }
    for (const arena of this.#live.values()) arena[Symbol.dispose]();
    this.#idle.clear();
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
      ends.push({ vm, id: vm.nextArenaId(), offset, state: "opening" });
    }
    let arena: Arena;
    try {
      arena = new Arena(++this.#count, this.memory(length), this.limits.ringBytes, ends);
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
      // It may be mapped all the same: its place in the window stays taken until the VM's next driver.
      end.state = "gone";
      throw error;
    }
  }

  async #mapEnd(arena: Arena, end: ArenaEnd): Promise<void> {
    const { vm, id, offset } = end;
    const length = arena.memory.length;
    await this.#ask(end, "ARENA_PREPARE", (token) => encodeArenaEvent(token, "ARENA_PREPARE", id));
    await vm.mapper.map(arena.memory.fd, offset, length);
    if (end.state === "gone") throw new ArenaError(`${vm.name} went down`);
    await this.#ask(
      end,
      "ARENA_MAPPED",
      (token) => encodeArenaEvent(token, "ARENA_MAPPED", id, { offset, length, nonce: arena.nonce }),
    );
  }

  /** Nothing new is put in it. */
  #forget(arena: Arena): void {
    const [first] = arena.ends;
    const peer = arena.host ? HOST : (arena.ends[1] ?? first)?.vm;
    const pair = first && peer && this.#pairs.get(first.vm)?.get(peer);
    if (pair) pair.arenas = pair.arenas.filter((other) => other !== arena);
  }

  #retire(arena: Arena): void {
    clearTimeout(this.#idle.get(arena));
    this.#idle.delete(arena);
    this.#forget(arena);
    const living = arena.ends.filter((end) => end.state === "visible");
    Promise.allSettled(living.map((end) => this.#retireEnd(arena, end))).then((results) => {
      for (const result of results) {
        if (result.status === "rejected") {
          log.warn("arena {arena}: {reason}", { arena: arena.number, reason: (result.reason as Error).message });
        }
      }
      // A VM that goes down meanwhile comes here as well.
      if (arena.ends.some((end) => end.state === "retiring") || !this.#live.delete(arena.memory.identity)) return;
      for (const end of arena.ends) end.vm.arenas.delete(end.id);
      arena[Symbol.dispose]();
      log.info("arena {arena} closed", { arena: arena.number });
    });
  }

  async #retireEnd(arena: Arena, end: ArenaEnd): Promise<void> {
    const { vm, id, offset } = end;
    end.state = "retiring";
    try {
      await this.#ask(end, "ARENA_RETIRE", (token) => encodeArenaEvent(token, "ARENA_RETIRE", id));
      if ((end.state as ArenaEnd["state"]) === "gone") return;
      await vm.mapper.unmap(offset, arena.memory.length);
      if ((end.state as ArenaEnd["state"]) !== "gone") vm.window.give(offset, arena.memory.length);
    } finally {
      // Without an answer it may still be mapped: its place in the window stays taken until the VM's next driver.
      end.state = "gone";
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
