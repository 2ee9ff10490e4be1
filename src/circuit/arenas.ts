/**
 * The arenas of all pairs of VMs: opened when a pair's first circuit needs one, retired when they have been empty for a while.
 *
 * Theory of operation. An arena is opened and retired by its ends (`arena_end.ts`). A VM that goes down has lost its end; the memory lives on
 * while the peer's circuits are in it.
 *
 * An arena is *abandoned* when what was used of it cannot be zeroed (others can prevent that, as long as they have it): nothing new is put in it, and it is retired when its
 * last circuit has ended.
 *
 * An arena is *revoked* when policy has cut all that is in it: two drivers that take no notice would share memory on. It is retired as soon as they have
 * closed their circuits, and after a while it is taken away, which needs no driver; those who are merely slow find zeros in it.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock, Timer } from "../clock.ts";
import { SystemError } from "../errno.ts";
import { Arena, slotBytes } from "./arena.ts";
import { ArenaEnd, type ArenaEndContext, ArenaError, type ArenaEventName } from "./arena_end.ts";
import { background } from "./background.ts";
import type { Limits } from "./limits.ts";
import type { HostStack } from "./host.ts";
import type { Notice, Notices } from "./notices.ts";
import { PerVm } from "./per_vm.ts";
import type { ArenaMemoryFactory } from "./plane.ts";
import type { Signals } from "./signals.ts";
import type { Vm } from "./vm.ts";

const log = getLogger(["csvn", "arena"]);

/** The host's stack, as one end of a pair. */
export const HOST = Symbol("host");
/** Who can be an end of a pair. */
export type Party = Vm | typeof HOST;

interface Pair {
  readonly vm: Vm;
  readonly peer: Party;
  arenas: Arena[];
  opening: Promise<void> | undefined;
}

/** What arenas are made with. */
export interface ArenasOptions {
  readonly limits: Limits;
  readonly memory: ArenaMemoryFactory;
  readonly signals: Signals;
  readonly host: HostStack;
  readonly clock: Clock;
  readonly notices: Notices;
}

/** All arenas of a switch. */
export class Arenas implements Disposable {
  readonly limits: Limits;
  readonly host: HostStack;
  readonly #options: ArenasOptions;
  readonly #context: ArenaEndContext;
  readonly #ends = new PerVm(() => new Map<number, ArenaEnd>());
  readonly #pairs = new Map<Party, Map<Party, Pair>>();
  readonly #live = new Map<string, Arena>();
  /** What is to become of arenas: those that are empty, and those that are revoked. */
  readonly #timers = new Map<Arena, Timer>();
  /** Arenas whose free slots may have memory. */
  readonly #warm = new Set<Arena>();
  #trimming: Timer | undefined;
  #count = 0;
  readonly #comings: Notice;
  readonly #leftovers: Notice;
  readonly #losses: Notice;

  constructor(options: ArenasOptions) {
    const leftovers = this.#leftovers = options.notices.of("arenas that are not given back", log, "warn");
    this.#losses = options.notices.of("arenas that were given up", log, "error");
    this.#comings = options.notices.of("arenas opened and closed", log, "info");
    this.#options = options;
    this.#context = { ...options, leftovers, left: ({ vm, id }) => void this.endsOf(vm).delete(id) };
    this.limits = options.limits;
    this.host = options.host;
  }

  /** Ends of arenas that have a place in a VM's window, by the id that its driver knows. */
  endsOf(vm: Vm): Map<number, ArenaEnd> {
    return this.#ends.of(vm);
  }

  /** All arenas that have memory. */
  get all(): Iterable<Arena> {
    return this.#live.values();
  }

  /** How many pairs have arenas. */
  get pairs(): number {
    return [...this.#pairs.values()].reduce((sum, peers) => sum + peers.size, 0);
  }

  /** Is this file an arena? By {@linkcode ArenaMemory.identity}. */
  has(identity: string): boolean {
    return this.#live.has(identity);
  }

  /** A free slot between a VM and another, or the host's stack; undefined when an arena must be opened first. */
  takeSlot(a: Vm, b: Party): { arena: Arena; slot: number } | undefined {
    for (const arena of this.#pairs.get(a)?.get(b)?.arenas ?? []) {
      if (!arena.usable) continue;
      const slot = arena.takeSlot();
      if (slot === undefined) continue;
      this.#plan(arena);
      return { arena, slot };
    }
    return undefined;
  }

  /**
   * Open another arena between a VM and another, or the host's stack; those who ask meanwhile share it. While slots of those that there are are being zeroed, these are waited
   * for instead. @throws {ArenaError}
   */
  open(a: Vm, b: Party): Promise<void> {
    const pair = this.#pair(a, b);
    pair.opening ??= (this.#cleaning(pair) ?? this.#open(pair)).finally(() => {
      pair.opening = undefined;
      this.#forgetPair(pair);
    });
    return pair.opening;
  }

  /** Give a slot back. */
  giveSlot(arena: Arena, slot: number): void {
    arena.giveSlot(slot);
    this.#warm.add(arena);
    this.#trimming ??= this.#options.clock.after(this.limits.warmMs, () => this.#trim());
    if (arena.circuits > 0) return;
    if (arena.state !== "open" || arena.ends.some((end) => end.isOut)) this.#retire(arena);
    else this.#plan(arena, this.limits.arenaIdleMs, () => this.#retire(arena));
  }

  /** Policy has cut all that is in an arena. */
  revoke(arena: Arena): void {
    if (arena.state !== "open" && arena.state !== "abandoned") return;
    arena.become("revoked");
    this.#plan(arena, this.limits.revokeMs, () => this.#takeAway(arena));
  }

  /** A VM's device runs on without its driver, or with another one: its window is emptied. */
  clearWindow(vm: Vm): void {
    for (const end of this.endsOf(vm).values()) background(end.unmap());
  }

  /**
   * A VM's driver says goodbye, and is about to reset its device: its window is emptied before it may, and what is being unmapped already is
   * waited for. One after the other and for a bounded time, since it will not wait for ever, and QEMU does not survive one that comes too late.
   *
   * @returns undefined when nothing is in it, nor under way; it never rejects.
   */
  leaveWindow(vm: Vm): Promise<void> | undefined {
    const mapped = [...this.endsOf(vm).values()].filter((end) => end.mapped);
    return mapped.length === 0 && !vm.mapper.answered() ? undefined : this.#emptyWindow(vm, mapped);
  }

  /** A driver's answer to an event about one of its arenas; false when nothing was asked. */
  answer(vm: Vm, id: number, event: ArenaEventName, errno: number): boolean {
    return this.endsOf(vm).get(id)?.answer(event, errno) ?? false;
  }

  /** A VM went down: its mappings are gone. */
  vmDown(vm: Vm): void {
    const ends = [...this.endsOf(vm).values()];
    this.endsOf(vm).clear();
    for (const end of ends) end.down();
    for (const arena of [...this.#pairs.get(vm)?.values() ?? []].flatMap(({ arenas }) => arenas)) {
      this.#forget(arena);
      if (arena.circuits === 0) this.#retire(arena);
    }
    for (const pair of [...this.#pairs.get(vm)?.values() ?? []]) {
      // Who opens one with it now opens another.
      pair.opening = undefined;
      this.#forgetPair(pair);
    }
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers.values()) timer.cancel();
    for (const arena of this.#live.values()) {
      for (const end of arena.ends) end.down();
      arena[Symbol.dispose]();
    }
    this.#trimming?.cancel();
    this.#warm.clear();
    this.#timers.clear();
    this.#live.clear();
    this.#pairs.clear();
  }

  #pair(a: Vm, b: Party): Pair {
    const known = this.#pairs.get(a)?.get(b);
    if (known) return known;
    const pair: Pair = { vm: a, peer: b, arenas: [], opening: undefined };
    for (const [one, other] of [[a, b], [b, a]] as const) {
      const peers = this.#pairs.get(one) ?? new Map<Party, Pair>();
      peers.set(other, pair);
      this.#pairs.set(one, peers);
    }
    return pair;
  }

  /** Resolves when slots that are being zeroed may be free; undefined when none are. */
  #cleaning(pair: Pair): Promise<void> | undefined {
    const all = pair.arenas.filter(({ usable }) => usable).map(({ cleaning }) => cleaning)
      .filter((cleaning) => cleaning !== undefined);
    return all.length > 0 ? Promise.race(all) : undefined;
  }

  async #open(pair: Pair): Promise<void> {
    const arena = this.#make(pair);
    // Both to their ends, so that it is known what is to be closed.
    const opened = await Promise.allSettled([
      ...arena.ends.map((end) => end.open(arena.memory.fd, arena.nonce)),
      ...(pair.peer === HOST ? [this.#mapForHost(pair.vm, arena)] : []),
    ]);
    const failed = opened.find((result) => result.status === "rejected");
    // One end may have been visible for a while when its VM went down.
    const gone = arena.ends.find((end) => end.isOut);
    if (failed || gone || !this.#live.has(arena.memory.identity)) {
      this.#retire(arena);
      throw failed ? failed.reason : new ArenaError(`${gone?.vm.name ?? "the switch"} went down`);
    }
    arena.become("open");
    pair.arenas.push(arena);
    this.#comings.tell(pair.vm.name, "arena {arena} opened for {vms}: {mebibytes} MiB, {slots} slots", {
      arena: arena.number,
      vms: arena.ends.map((end) => end.vm.name).concat(arena.forHost ? ["the host's stack"] : []).join(" and "),
      mebibytes: arena.memory.length / 2 ** 20,
      slots: arena.slotCount,
    });
  }

  #make(pair: Pair): Arena {
    const vms = pair.peer === HOST || pair.peer === pair.vm ? [pair.vm] : [pair.vm, pair.peer];
    const silent = vms.find(({ mapper }) => mapper.overdue);
    if (silent) throw new ArenaError(`the front-end of ${silent.name} does not answer`);
    const { length, offsets } = this.#place(pair, vms);
    let arena: Arena;
    try {
      const ends = vms.map((vm, i) => new ArenaEnd(vm, vm.nextArenaId(), offsets[i]!, length, this.#context));
      arena = new Arena(
        ++this.#count,
        this.#options.memory(length, vms.map(({ name }) => name)),
        this.limits.ringBytes,
        ends,
        this.limits,
        pair.peer === HOST,
      );
    } catch (error) {
      vms.forEach((vm, i) => vm.window.give(offsets[i]!, length));
      throw error;
    }
    arena.failed = (error) => this.#abandon(arena, error);
    for (const end of arena.ends) this.endsOf(end.vm).set(end.id, end);
    this.#live.set(arena.memory.identity, arena);
    return arena;
  }

  async #mapForHost(vm: Vm, arena: Arena): Promise<void> {
    const host = await this.host.mapArena(vm.device, arena.memory);
    // The switch may have stopped meanwhile.
    if (this.#live.has(arena.memory.identity)) arena.host = host;
    else host[Symbol.dispose]();
  }

  /** Take a place in all these windows: twice as much for each arena that the pair has, or what there is. @throws {ArenaError} */
  #place(pair: Pair, vms: readonly Vm[]): { length: number; offsets: number[] } {
    const { arenaBytes, arenaMaxBytes, ringBytes } = this.limits;
    let length = Math.min(arenaBytes * 2 ** pair.arenas.length, arenaMaxBytes);
    for (;; length /= 2) {
      const offsets: number[] = [];
      for (const vm of vms) {
        const offset = vm.window.take(length);
        if (offset === undefined) break;
        offsets.push(offset);
      }
      if (offsets.length === vms.length) return { length, offsets };
      offsets.forEach((offset, i) => vms[i]!.window.give(offset, length));
      const half = length / 2;
      if (half % PAGE !== 0 || half < PAGE + slotBytes(ringBytes)) {
        throw new ArenaError(`the window of ${vms[offsets.length]!.name} is full`);
      }
    }
  }

  /** What is to become of an arena after a while, in place of what was planned before. */
  #plan(arena: Arena, ms?: number, act?: () => void): void {
    this.#timers.get(arena)?.cancel();
    this.#timers.delete(arena);
    if (ms === undefined || act === undefined) return;
    this.#timers.set(
      arena,
      this.#options.clock.after(ms, () => {
        this.#timers.delete(arena);
        act();
      }),
    );
  }

  /** Memory that free slots keep goes back to the system, where they do not need it. */
  #trim(): void {
    for (const arena of this.#warm) if (!arena.trim()) this.#warm.delete(arena);
    const again = this.#warm.size > 0;
    this.#trimming = again ? this.#options.clock.after(this.limits.warmMs, () => this.#trim()) : undefined;
  }

  /** What was used of it may have anybody's bytes in it. */
  #abandon(arena: Arena, error: unknown): void {
    if (!(error instanceof SystemError)) throw error;
    if (arena.state !== "open" || !this.#live.has(arena.memory.identity)) return;
    // Whoever holds the lock of each one has them given up as often as they like.
    this.#losses.tell(arena.ends[0]!.vm.name, "arena {arena} of {vms} is given up: {reason}", {
      arena: arena.number,
      vms: arena.ends.map((end) => end.vm.name).join(" and "),
      reason: error.message,
    });
    arena.become("abandoned");
    this.#forget(arena);
    if (arena.circuits === 0) this.#retire(arena);
  }

  /** Nothing new is put in it. */
  #forget(arena: Arena): void {
    const [first] = arena.ends;
    const peer = arena.forHost ? HOST : (arena.ends[1] ?? first)?.vm;
    const pair = first && peer && this.#pairs.get(first.vm)?.get(peer);
    if (!pair) return;
    pair.arenas = pair.arenas.filter((other) => other !== arena);
    this.#forgetPair(pair);
  }

  /** A pair that has no arena any more is none. */
  #forgetPair(pair: Pair): void {
    const { vm, peer, arenas, opening } = pair;
    if (arenas.length > 0 || opening || this.#pairs.get(vm)?.get(peer) !== pair) return;
    for (const [one, other] of [[vm, peer], [peer, vm]] as const) {
      const peers = this.#pairs.get(one);
      peers?.delete(other);
      if (peers?.size === 0) this.#pairs.delete(one);
    }
  }

  /** Its circuits are cut, and their drivers have had their time. */
  #takeAway(arena: Arena): void {
    log.warn("arena {arena} is taken away from {vms}, which hold {circuits} circuits in it that were cut", {
      arena: arena.number,
      vms: arena.ends.map((end) => end.vm.name).join(" and "),
      circuits: arena.circuits,
    });
    const ends = arena.ends.filter(({ state }) => state === "visible");
    background(
      Promise.all(ends.map((end) => end.revoke())).then(() => {
        if (this.#live.has(arena.memory.identity)) arena.empty();
      }),
    );
  }

  async #emptyWindow(vm: Vm, mapped: readonly ArenaEnd[]): Promise<void> {
    const { clock } = this.#options;
    const { window, mapper } = vm;
    const { byeMs } = this.limits;
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = clock.after(byeMs, () => reject(new ArenaError(`it took longer than ${byeMs} ms`)));
    // Nobody may be waiting when the time is up.
    late.catch(() => {});
    try {
      for (const [i, { offset, length }] of mapped.entries()) {
        // The first one goes out with the goodbye. By the next one the device may have been stopped, or have another driver.
        if (i > 0 && (!vm.isLeaving || vm.window !== window)) return;
        await Promise.race([mapper.unmap(offset, length), late]);
      }
      await Promise.race([mapper.answered(), late]);
    } catch (error) {
      const names = { vm: vm.name, reason: (error as Error).message };
      this.#leftovers.tell(vm.name, "the window of {vm} was not emptied: {reason}", names);
    } finally {
      timer.cancel();
    }
  }

  #retire(arena: Arena): void {
    if (arena.state === "retiring") return;
    arena.become("retiring");
    this.#plan(arena);
    this.#forget(arena);
    background(
      Promise.all(arena.ends.map((end) => end.close())).then(() => {
        if (!this.#live.delete(arena.memory.identity)) return;
        this.#warm.delete(arena);
        arena[Symbol.dispose]();
        this.#comings.tell(arena.ends[0]!.vm.name, "arena {arena} closed", { arena: arena.number });
      }),
    );
  }
}

const PAGE = 4096;
