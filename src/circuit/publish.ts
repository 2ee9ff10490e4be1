/**
 * Published ports: which of the host's ports lead to which VM's, and whether they do.
 *
 * Theory of operation. The host's socket is bound only while the VM listens, so that a port behind which nobody listens refuses as it
 * should. Where it cannot be bound (somebody else has the port, or the host not yet the address) it is *failed*, which the status and
 * the log say, and tried again every so often until it can be, or the VM listens no more. So is a datagram port whose circuit has ended though the
 * VM is bound still.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { Errno, errnoName, SystemError } from "../errno.ts";
import { type Endpoint, formatEndpoint, unmapped } from "../net/address.ts";
import type { Clock } from "../clock.ts";
import type { Gatekeeper } from "./gatekeeper.ts";
import type { Arenas } from "./arenas.ts";
import type { Circuits } from "./circuits.ts";
import { datagramKey, type OpenedDatagram } from "./datagram_sockets.ts";
import { background } from "./background.ts";
import type { HostConnection, HostListener, HostStack } from "./host.ts";
import { type InboundConnections, placeFor } from "./inbound.ts";
import type { Limits } from "./limits.ts";
import { chooseListener, type Listener, type Listeners, type Protocol } from "./listener.ts";
import type { Notice, Notices } from "./notices.ts";
import type { PerVm } from "./per_vm.ts";
import type { Vm } from "./vm.ts";

const log = getLogger(["csvn", "publish"]);

/** A port of the host's network that leads to a VM's. */
export interface Publication {
  readonly protocol: Protocol;
  /** Where the host listens; port 0 for any. */
  readonly host: Endpoint;
  /** The VM's name and its port. */
  readonly vm: string;
  readonly port: number;
}

/** What has become of a publication. */
export interface PublicationStatus {
  readonly protocol: Protocol;
  readonly host: string;
  readonly vm: string;
  readonly port: number;
  /**
   * - `idle`: the VM does not listen;
   * - `binding`: its datagram port is being set up;
   * - `bound`: the host's port leads to it;
   * - `failed`: it cannot be bound now; it is tried again.
   */
  readonly state: "idle" | "binding" | "bound" | "failed";
  /** Why it failed, such as `EADDRINUSE`. */
  readonly error?: string;
}

interface Entry {
  readonly publication: Publication;
  state: PublicationStatus["state"];
  /** Why it failed; 0 while it has not. */
  errno: number;
  /** What is given back when it is idle: the host's socket, or the timer of the next try. */
  held: Disposable | undefined;
}

/** What publications need. */
export interface PublisherOptions {
  readonly listeners: PerVm<Listeners>;
  readonly host: HostStack;
  readonly arenas: Arenas;
  readonly circuits: Circuits;
  readonly gate: Gatekeeper;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly notices: Notices;
  readonly inbound: InboundConnections;
}

/** Binds the published ports. */
export class Publisher implements Disposable {
  readonly #entries: readonly Entry[];
  readonly #bound: Notice;
  readonly #failed: Notice;

  constructor(publications: readonly Publication[], readonly options: PublisherOptions) {
    this.#bound = options.notices.of("ports that are published", log, "info");
    this.#failed = options.notices.of("ports that cannot be published", log, "error");
    this.#entries = publications.map(({ host, ...rest }) => ({
      // An IPv4-mapped address is the host's IPv4 one, and leads to the VM's.
      publication: { ...rest, host: { ...host, address: unmapped(host.address) } },
      state: "idle",
      errno: 0,
      held: undefined,
    }));
  }

  /** All of them. */
  get status(): PublicationStatus[] {
    return this.#entries.map(({ publication: { protocol, host, vm, port }, state, errno }) => ({
      protocol,
      host: formatEndpoint(host),
      vm,
      port,
      state,
      ...(state === "failed" && { error: errnoName(errno) }),
    }));
  }

  /** A VM's listeners changed. */
  update(vm: Vm): void {
    for (const entry of this.#entries) {
      if (entry.publication.vm !== vm.name) continue;
      const wanted = this.#listener(vm, entry.publication) !== undefined;
      if (wanted && entry.state === "idle") this.#bind(vm, entry);
      if (!wanted && entry.state !== "idle") this.#become(entry, "idle");
    }
  }

  [Symbol.dispose](): void {
    for (const entry of this.#entries) this.#become(entry, "idle");
  }

  /** The one place where the state of a publication changes. @param held Given back at the next change. */
  #become(entry: Entry, state: Entry["state"], held?: Disposable, errno = 0): void {
    const { publication: { protocol, host, vm, port }, errno: before, held: old } = entry;
    entry.state = state;
    entry.held = held;
    // What it failed with is remembered while it is tried again: it is said once.
    if (state !== "binding") entry.errno = errno;
    if (old !== held) old?.[Symbol.dispose]();
    const kind = protocol === "udp" ? "datagram port" : "port";
    const names = { host: formatEndpoint(host), vm, kind, port };
    if (state === "bound") this.#bound.tell(vm, "{host} is published: {vm} {kind} {port}", names);
    if (state === "failed" && errno !== before) {
      this.#failed.tell(vm, "{host} cannot be published for {vm} {kind} {port}: {error}; it is tried again", {
        ...names,
        error: errnoName(errno),
      });
    }
  }

  #bind(vm: Vm, entry: Entry): void {
    if (entry.publication.protocol === "udp") return this.#bindDatagrams(vm, entry);
    let socket: HostListener | undefined;
    const held: Disposable = { [Symbol.dispose]: () => socket?.[Symbol.dispose]() };
    this.#become(entry, "binding", held);
    const listening = this.options.host.listen(
      vm.device,
      entry.publication.host,
      (connection) => this.#accept(vm, entry.publication, connection),
    );
    background(listening.then((bound) => {
      socket = bound;
      if (entry.held === held) this.#become(entry, "bound", held);
      else bound[Symbol.dispose]();
    }, (error) => {
      if (!(error instanceof SystemError)) throw error;
      if (entry.held === held) this.#fail(vm, entry, error.errno);
    }));
  }

  #fail(vm: Vm, entry: Entry, errno: number): void {
    const { clock, limits: { publishRetryMs } } = this.options;
    const timer = clock.after(publishRetryMs, () => this.#bind(vm, entry));
    this.#become(entry, "failed", { [Symbol.dispose]: () => timer.cancel() }, errno);
  }

  #bindDatagrams(vm: Vm, entry: Entry): void {
    const { circuits, arenas } = this.options;
    let opened: OpenedDatagram | undefined;
    const held: Disposable = {
      [Symbol.dispose]: () => {
        if (opened) circuits.end(opened.circuit, Errno.ECONNRESET);
      },
    };
    this.#become(entry, "binding", held);
    placeFor(arenas, vm).then((place) => {
      if (entry.held !== held) return arenas.giveSlot(place.arena, place.slot);
      const listener = this.#listener(vm, entry.publication);
      if (!listener) {
        arenas.giveSlot(place.arena, place.slot);
        return this.#fail(vm, entry, Errno.ECONNREFUSED);
      }
      const local = destinationOf(vm, entry.publication);
      opened = circuits.openPublished(
        listener,
        local,
        entry.publication.host,
        place,
        (address) => this.#source(vm, local, opened!, address),
        (errno) => {
          if (errno !== 0) opened = undefined;
          if (entry.held !== held) return;
          if (errno !== 0) return this.#fail(vm, entry, errno);
          listener.outstanding++;
          circuits.datagrams.of(vm).set(datagramKey(local), opened!);
          opened!.circuit.ended = () => {
            if (entry.held !== held) return;
            opened = undefined;
            entry.errno = Errno.ECONNRESET; // no news for the log: it was the VM's doing, which may be about to close its socket
            this.#fail(vm, entry, Errno.ECONNRESET);
          };
          this.#become(entry, "bound", held);
        },
      );
      if (!opened) this.#fail(vm, entry, Errno.ENOBUFS);
    }).catch((error: Error) => {
      if (entry.held !== held) return;
      log.debug("no place for {vm}'s published datagrams: {reason}", { vm: vm.name, reason: error.message });
      this.#fail(vm, entry, error instanceof SystemError ? error.errno : Errno.ENOBUFS);
    });
  }

  /** Datagrams come to a published port from an address that was not asked about. */
  #source(vm: Vm, local: Endpoint, opened: OpenedDatagram, address: Endpoint): void {
    const admission = this.options.gate.ask({
      protocol: "udp",
      from: "host",
      source: address,
      to: vm.name,
      destination: local,
    });
    opened.flows.set(admission, address, address);
  }

  /** Who takes what comes to a publication now. */
  #listener(vm: Vm, publication: Publication): Listener | undefined {
    const { protocol, port } = publication;
    const listeners = this.options.listeners.of(vm).at(protocol, port);
    return chooseListener(listeners, destinationOf(vm, publication), protocol);
  }

  #accept(vm: Vm, publication: Publication, connection: HostConnection): void {
    const admission = this.options.gate.ask({
      protocol: publication.protocol,
      from: "host",
      source: connection.remote,
      to: vm.name,
      destination: destinationOf(vm, publication),
    });
    this.options.inbound.accept(connection, this.#listener(vm, publication), admission);
  }
}

function destinationOf(vm: Vm, { host, port }: Publication): Endpoint {
  return { address: host.address.family === 4 ? vm.identity.ipv4 : vm.identity.ipv6, port };
}
