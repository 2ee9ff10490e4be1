/**
 * Listeners, and how many connections each may still be sent.
 *
 * @module
 */

import { type Endpoint, isUnspecified } from "../net/address.ts";
import type { Admission } from "./admission.ts";
import type { Vm } from "./vm.ts";

/** What a listener takes. */
export type Protocol = "tcp" | "udp";

/** Who waits for room in a backlog: a VM's attempt, or a connection from the host's network. */
export interface Waiter {
  readonly admission: Admission;
  /** There is room; it waits no more. */
  proceed(): void;
  /** Nobody listens any more. */
  refused(): void;
}

/** A listening socket of a VM, or a bound one for datagrams. */
export class Listener {
  /** Connections sent and not yet credited as accepted. */
  outstanding = 0;
  /** Those that wait for room in the backlog, oldest first. */
  readonly waiting = new Set<Waiter>();
  /** It was taken back by the driver. */
  gone = false;

  /** @param id The driver's id for it. @param backlog As listen() was told. */
  constructor(
    readonly vm: Vm,
    readonly id: number,
    readonly local: Endpoint,
    public backlog: number,
    readonly v6only: boolean,
    readonly protocol: Protocol = "tcp",
  ) {}

  /** May another connection be sent? Linux takes one more than the backlog says. */
  get hasCredit(): boolean {
    return this.outstanding <= this.backlog;
  }

  /** How well it fits a destination: 0 not at all, more is better, as the kernel's own lookup has it. */
  score(destination: Endpoint, protocol: Protocol = "tcp"): number {
    const { address, port } = this.local;
    if (port !== destination.port || protocol !== this.protocol) return 0;
    if (address.text === destination.address.text) return 3;
    if (!isUnspecified(address)) return 0;
    if (address.family === destination.address.family) return 2;
    return address.family === 6 && !this.v6only ? 1 : 0;
  }
}

/** A VM's listeners: by the driver's id, and by what is looked for. */
export class Listeners {
  readonly #byId = new Map<number, Listener>();
  readonly #byPort = new Map<string, Set<Listener>>();

  /** How many there are. */
  get size(): number {
    return this.#byId.size;
  }

  /** All of them. */
  values(): IterableIterator<Listener> {
    return this.#byId.values();
  }

  /** The one that the driver calls so. */
  get(id: number): Listener | undefined {
    return this.#byId.get(id);
  }

  /** Those at a port, at whatever address. */
  at(protocol: Protocol, port: number): Iterable<Listener> {
    return this.#byPort.get(`${protocol}:${port}`) ?? [];
  }

  /** Another one, whose id is free. */
  add(listener: Listener): void {
    this.#byId.set(listener.id, listener);
    const key = `${listener.protocol}:${listener.local.port}`;
    const there = this.#byPort.get(key);
    if (there) there.add(listener);
    else this.#byPort.set(key, new Set([listener]));
  }

  /** One less. */
  delete(id: number): void {
    const listener = this.#byId.get(id);
    if (!listener) return;
    this.#byId.delete(id);
    const key = `${listener.protocol}:${listener.local.port}`;
    const there = this.#byPort.get(key);
    there?.delete(listener);
    if (there?.size === 0) this.#byPort.delete(key);
  }

  /** None at all. */
  clear(): void {
    this.#byId.clear();
    this.#byPort.clear();
  }
}

/**
 * The listener that takes a connection to a destination: of those that fit best, one with credit, in turn; without credit,
 * the one with the shortest queue.
 */
export function chooseListener(
  listeners: Iterable<Listener>,
  destination: Endpoint,
  protocol: Protocol = "tcp",
): Listener | undefined {
  let best: Listener[] = [];
  let score = 1;
  for (const listener of listeners) {
    const fit = listener.score(destination, protocol);
    if (fit < score) continue;
    if (fit > score) best = [];
    score = fit;
    best.push(listener);
  }
  const load = (listener: Listener): number =>
    listener.hasCredit ? listener.outstanding : 2 ** 32 + listener.waiting.size;
  return best.reduce<Listener | undefined>(
    (least, listener) => least === undefined || load(listener) < load(least) ? listener : least,
    undefined,
  );
}
