/**
 * The DNS names that addresses have for a VM, as the switch's resolver told it.
 *
 * A name is the one that was asked for; of an answer with aliases, it is not their names but the address at their end that belongs to it. Whoever
 * owns another name can point it at any address, but cannot give an address this name.
 *
 * @module
 */

import { type Clock, systemClock, type Timer } from "../clock.ts";
import type { Address } from "../net/address.ts";

/** Names that are remembered for one VM. */
const NAMES_MAX = 1024;
/** Addresses of one name. */
const ADDRESSES_MAX = 64;
/** Seconds for which an address is remembered at least, by default: between the answer and the connection some time goes by. */
export const LEARNED_SECONDS_MIN = 1;
/** Seconds for which it is remembered at most. */
const TTL_MAX = 86_400;
/** Milliseconds after which it is looked for names that nobody has asked about, and whose time is over. */
const SWEEP_MS = 60_000;

/** What one VM was told. */
export class LearnedNames implements Disposable {
  /** Until when an address has a name, in milliseconds; names in the order in which they were told last. */
  readonly #names = new Map<string, Map<string, number>>();
  readonly #byAddress = new Map<string, Set<string>>();

  #sweeping: Timer | undefined;

  /** @param secondsMin Seconds for which an address is remembered at least. */
  constructor(readonly clock: Clock = systemClock, readonly secondsMin = LEARNED_SECONDS_MIN) {}

  /** The VM is told these addresses; none is nothing new. @param name In lower case. @param ttl Seconds. */
  learn(name: string, addresses: readonly Address[], ttl: number): void {
    if (addresses.length === 0) return;
    this.#sweeping ??= this.clock.after(SWEEP_MS, () => this.#sweep());
    const until = this.clock.now() + 1000 * Math.min(Math.max(ttl, this.secondsMin), TTL_MAX);
    const known = this.#names.get(name) ?? new Map<string, number>();
    this.#names.delete(name);
    this.#names.set(name, known);
    for (const { text } of addresses.slice(0, ADDRESSES_MAX)) {
      const before = known.get(text) ?? 0;
      known.delete(text);
      known.set(text, Math.max(until, before));
      const names = this.#byAddress.get(text);
      if (names) names.add(name);
      else this.#byAddress.set(text, new Set([name]));
    }
    while (known.size > ADDRESSES_MAX) this.#forget(name, known, known.keys().next().value!);
    while (this.#names.size > NAMES_MAX) this.#forgetName(this.#names.keys().next().value!);
  }

  /** The names that an address has now. */
  of({ text }: Address): string[] {
    const names = this.#byAddress.get(text);
    if (!names) return [];
    const now = this.clock.now();
    for (const name of [...names]) {
      const known = this.#names.get(name)!;
      if (known.get(text)! < now) this.#forget(name, known, text);
    }
    return [...this.#byAddress.get(text) ?? []];
  }

  /** How many addresses are remembered. */
  get size(): number {
    return this.#byAddress.size;
  }

  [Symbol.dispose](): void {
    this.#sweeping?.cancel();
    this.#sweeping = undefined;
    this.#names.clear();
    this.#byAddress.clear();
  }

  #sweep(): void {
    const now = this.clock.now();
    for (const [name, known] of this.#names) {
      for (const [text, until] of known) if (until < now) this.#forget(name, known, text);
    }
    const again = this.#names.size > 0;
    this.#sweeping = again ? this.clock.after(SWEEP_MS, () => this.#sweep()) : undefined;
  }

  #forgetName(name: string): void {
    const known = this.#names.get(name)!;
    for (const text of [...known.keys()]) this.#forget(name, known, text);
    this.#names.delete(name);
  }

  #forget(name: string, known: Map<string, number>, text: string): void {
    known.delete(text);
    if (known.size === 0) this.#names.delete(name);
    const names = this.#byAddress.get(text)!;
    names.delete(name);
    if (names.size === 0) this.#byAddress.delete(text);
  }
}
