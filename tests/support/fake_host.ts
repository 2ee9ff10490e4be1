/**
 * A fake of the host's stack, for units: everything that it opens is counted, and what the data plane would not put up with fails the test.
 *
 * @module
 */

import type {
  HostArena,
  HostCircuit,
  HostCircuitHandler,
  HostCircuitSetup,
  HostConnection,
  HostConnectionHandler,
  HostDatagram,
  HostDatagramHandler,
  HostListener,
  HostStack,
} from "../../src/circuit/host.ts";
import { background } from "../../src/circuit/background.ts";
import type { ArenaMemory, Device } from "../../src/circuit/plane.ts";
import type { SocketOptions } from "../../src/circuit/records.ts";
import { Errno, SystemError } from "../../src/errno.ts";
import { type Endpoint, formatEndpoint } from "../../src/net/address.ts";
import type { Acknowledgements } from "./acknowledgements.ts";

/** Rules of one datagram circuit, as in `lib/src/permit.c`. */
const PERMITS_MAX = 4096;

/** A connection from the host's network. */
export class FakeHostConnection implements HostConnection {
  /** Until it is refused or taken over it waits. */
  state: "waiting" | "refused" | "taken" = "waiting";
  #handler: HostConnectionHandler | undefined;

  /** @param wrong Told what a switch must not do. */
  constructor(readonly remote: Endpoint, readonly wrong: (what: string) => void) {}

  refuse(): void {
    if (this.state === "waiting") this.#become("refused");
  }

  wait(handler: HostConnectionHandler): void {
    if (this.state !== "waiting") this.wrong(`a connection that was ${this.state} waits`);
    this.#handler = handler;
  }

  /** It becomes a circuit's. */
  take(): void {
    if (this.state !== "waiting") this.wrong(`a connection that was ${this.state} is taken over`);
    this.#become("taken");
  }

  /** Its client goes away: told once, if anybody wants to know. */
  leave(): void {
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.gone();
  }

  #become(state: "refused" | "taken"): void {
    this.state = state;
    this.#handler = undefined;
  }
}

/** A datagram circuit's end. */
export interface FakeHostDatagram {
  /** As the guest calls them, with whether they are allowed. */
  readonly permits: Map<string, boolean>;
  /** Bytes that have passed since that was asked. */
  readonly moved: Map<string, bigint>;
  /** Datagrams come from an address. */
  source(from: Endpoint): void;
}

/** A host's stack that connects to everything but what is told. */
export class FakeHostStack implements HostStack {
  /** Opening anything fails with this. */
  errno = 0;
  /** Circuits end with this when addresses are permitted or forbidden. */
  permitErrno = 0;
  /** Listening and binding fail with this. */
  bindErrno = 0;
  /** How often somebody has tried to listen or bind. */
  binds = 0;
  /** Options that live circuits were given, in order. */
  readonly options: SocketOptions[] = [];
  /** Peers take what guests have sent before they closed; if not, their circuits go on until {@linkcode drain}. */
  takes = true;
  /** What a connect comes to; undefined: nothing yet. */
  connects: number | undefined = 0;
  readonly arenas = new Set<HostArena>();
  readonly circuits = new Map<HostCircuitHandler, HostCircuitSetup>();
  /** Those whose outcome was told: they are connected. */
  readonly connected = new WeakSet<HostCircuitHandler>();
  readonly datagrams = new Map<HostDatagramHandler, HostCircuitSetup & FakeHostDatagram>();
  readonly listeners = new Map<string, (connection: HostConnection) => void>();
  readonly #bound = new Set<string>();

  /** What ends circuits whose guests have closed. */
  readonly #draining: (() => void)[] = [];
  /** Circuits that were closed, and whose memory may be touched until that is acknowledged. */
  readonly #leaving = new Set<HostCircuitSetup>();
  readonly #memories = new Map<HostArena, ArenaMemory>();

  /** @param wrong Told what a switch must not do. */
  constructor(readonly wrong: (what: string) => void, readonly portOf: (device: Device) => Acknowledgements) {}

  /** Memory is zeroed: is anybody at it? */
  zeroed(memory: ArenaMemory, offset: number, length: number): void {
    for (const { arena, extents } of [...this.#leaving, ...this.circuits.values(), ...this.datagrams.values()]) {
      const at = Math.min(extents.ownControl, extents.peerControl);
      if (this.#memories.get(arena) === memory && offset <= at && at < offset + length) {
        this.wrong("memory is zeroed under a circuit");
      }
    }
  }

  /** A circuit was closed. */
  #leave(setup: HostCircuitSetup | undefined): Promise<void> {
    if (!setup) return Promise.resolve();
    this.#leaving.add(setup);
    return this.portOf(setup.device).give(() => void this.#leaving.delete(setup));
  }

  #enter(setup: HostCircuitSetup): void {
    if (!this.arenas.has(setup.arena)) this.wrong("a circuit in an arena that is not mapped");
    for (const { arena, extents, device, id } of this.#leaving) {
      if (arena === setup.arena && extents.ownControl === setup.extents.ownControl) this.wrong("a slot that is in use");
      if (device === setup.device && id === setup.id) this.wrong(`id ${id}, which is in use`);
    }
  }

  /** Peers take what they have not taken before. */
  drain(): void {
    for (const done of this.#draining.splice(0)) done();
  }

  /** How much of everything there is. */
  get held(): number[] {
    return [this.arenas.size, this.circuits.size, this.datagrams.size, this.listeners.size, this.#bound.size];
  }

  async mapArena(device: Device, memory: ArenaMemory): Promise<HostArena> {
    await this.portOf(device).give(() => {});
    this.#mayFail("map an arena");
    const arena: HostArena = {
      [Symbol.dispose]: () => {
        if (!this.arenas.delete(arena)) this.wrong("an arena is unmapped twice");
        const users = [...this.circuits.values(), ...this.datagrams.values(), ...this.#leaving]
          .filter((setup) => setup.arena === arena);
        this.#memories.delete(arena);
        if (users.length > 0) this.wrong("an arena is unmapped under a circuit");
      },
    };
    this.arenas.add(arena);
    this.#memories.set(arena, memory);
    return arena;
  }

  open(setup: HostCircuitSetup, to: Endpoint | HostConnection, handler: HostCircuitHandler): HostCircuit {
    const inbound = to instanceof FakeHostConnection;
    if (inbound) to.take();
    if (!this.errno) {
      this.#enter(setup);
      this.circuits.set(handler, setup);
    }
    const live = (): boolean => this.circuits.has(handler);
    let closed = false;
    const outcome = this.errno || (inbound ? 0 : this.connects);
    const { errno } = this;
    if (outcome !== undefined) {
      this.#later(setup, () => {
        if (closed || (errno === 0 && !live())) return;
        if (outcome === 0) this.connected.add(handler);
        handler.connected(outcome);
      });
    }
    return {
      finish: () => {
        if (this.takes) this.#later(setup, () => live() && handler.done(1n, 2n, 0));
        else this.#draining.push(() => live() && handler.done(1n, 2n, 0));
      },
      setOptions: (options) => {
        if (!live() && !errno) this.wrong("options of a circuit that is over");
        this.options.push(options);
      },
      close: () => {
        closed = true;
        return this.circuits.delete(handler) ? this.#leave(setup) : Promise.resolve();
      },
    };
  }

  openDatagram(setup: HostCircuitSetup, bind: Endpoint | undefined, handler: HostDatagramHandler): HostDatagram {
    const local = bind && `${formatEndpoint(bind)}/udp`;
    if (bind) this.binds++;
    const taken = local !== undefined && this.#bound.has(local) ? Errno.EADDRINUSE : 0;
    const errno = this.errno || (bind ? this.bindErrno || taken : 0);
    const permits = new Map<string, boolean>();
    const moved = new Map<string, bigint>();
    const source = (from: Endpoint): void => {
      if (!permits.has(formatEndpoint(from))) handler.source(from);
    };
    if (!errno) {
      this.#enter(setup);
      if (local !== undefined) this.#bound.add(local);
      this.datagrams.set(handler, { ...setup, permits, moved, source });
    }
    let closed = false;
    this.#later(setup, () => !closed && handler.opened(errno));
    const end = (): boolean => {
      if (local !== undefined && this.datagrams.has(handler)) this.#bound.delete(local);
      return this.datagrams.delete(handler);
    };
    return {
      permit: (guest, _actual, allowed) => {
        const key = formatEndpoint(guest);
        if (errno || !this.datagrams.has(handler)) this.wrong("a permit of a circuit that is not there");
        if (this.permitErrno || (!permits.has(key) && permits.size >= PERMITS_MAX)) {
          return this.#later(setup, () => end() && handler.done(0n, 0n, this.permitErrno || Errno.ENOBUFS));
        }
        permits.set(key, allowed);
      },
      forget: (guest) => void permits.delete(formatEndpoint(guest)),
      moved: (guest) => {
        const sent = moved.get(formatEndpoint(guest)) ?? 0n;
        moved.delete(formatEndpoint(guest));
        return { sent, received: 0n };
      },
      finish: () => this.#later(setup, () => end() && handler.done(0n, 0n, 0)),
      setOptions: () => this.wrong("options of a datagram circuit"),
      close: () => {
        closed = true;
        end();
        return errno ? Promise.resolve() : this.#leave(setup);
      },
    };
  }

  async listen(device: Device, local: Endpoint, accept: (connection: HostConnection) => void): Promise<HostListener> {
    await this.portOf(device).give(() => {});
    this.#mayFail("listen");
    this.binds++;
    if (this.bindErrno) throw new SystemError("listen", this.bindErrno);
    const key = formatEndpoint(local);
    if (this.listeners.has(key)) throw new SystemError(`listen on ${key}`, Errno.EADDRINUSE);
    this.listeners.set(key, accept);
    return { port: local.port, [Symbol.dispose]: () => void this.listeners.delete(key) };
  }

  /** A connection comes in at a published port. */
  accept(local: string, remote: Endpoint): FakeHostConnection {
    const connection = new FakeHostConnection(remote, this.wrong);
    const accept = this.listeners.get(local);
    if (accept) accept(connection);
    else connection.refuse();
    return connection;
  }

  /** Acknowledge something, and never at once. */
  #later({ device }: HostCircuitSetup, act: () => void): void {
    queueMicrotask(() => background(this.portOf(device).give(act)));
  }

  #mayFail(action: string): void {
    if (this.errno) throw new SystemError(action, this.errno);
  }
}
