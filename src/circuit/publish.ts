/**
 * Published ports: connections from the host's network to a VM's listener.
 *
 * Theory of operation. The host's socket listens only while the VM does, so that a port behind which nobody listens refuses as it
 * should. A connection that comes in is shown to policy, then set up as any other. What is denied, whatever policy wants it to look like, and what
 * finds the VM's backlog full, is reset at once: the host's stack has accepted it already.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { Errno, errnoName, SystemError } from "../errno.ts";
import { type Endpoint, formatEndpoint } from "../net/address.ts";
import type { Admission, Gatekeeper } from "./admission.ts";
import { type Arenas, HOST } from "./arenas.ts";
import type { Circuits, OpenedDatagram, Place } from "./circuits.ts";
import { datagramKey } from "./connect.ts";
import type { HostConnection, HostStack } from "./host.ts";
import { chooseListener, type Listener, type Protocol } from "./listener.ts";
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

/** Listens for the published ports. */
export class Publisher implements Disposable {
  readonly #listening = new Map<Publication, Disposable>();
  /** Connections that wait for an arena, and what policy says of them. */
  readonly #opening = new Map<HostConnection, Admission>();

  constructor(
    readonly publications: readonly Publication[],
    readonly host: HostStack,
    readonly arenas: Arenas,
    readonly circuits: Circuits,
    readonly gate: Gatekeeper,
  ) {}

  /** A VM's listeners changed. */
  update(vm: Vm): void {
    for (const publication of this.publications) {
      if (publication.vm !== vm.name) continue;
      const wanted = this.#listener(vm, publication) !== undefined;
      const open = this.#listening.get(publication);
      if (wanted && !open) this.#listen(vm, publication);
      if (!wanted && open) {
        open[Symbol.dispose]();
        this.#listening.delete(publication);
      }
    }
  }

  /** Policy has changed: ask again about connections that wait. How many there were, and how many of them are over. */
  revise(): { checked: number; cut: number } {
    const count = { checked: 0, cut: 0 };
    for (const [connection, admission] of this.#opening) {
      count.checked++;
      this.gate.review(admission);
      if (admission.current.allow) continue;
      count.cut++;
      this.gate.denied(admission);
      this.#opening.delete(connection);
      connection.refuse();
    }
    return count;
  }

  [Symbol.dispose](): void {
    for (const listener of this.#listening.values()) listener[Symbol.dispose]();
    this.#listening.clear();
  }

  #destination(vm: Vm, { host, port }: Publication): Endpoint {
    return { address: host.address.family === 4 ? vm.identity.ipv4 : vm.identity.ipv6, port };
  }

  #listener(vm: Vm, publication: Publication): Listener | undefined {
    return chooseListener(vm.listeners.values(), this.#destination(vm, publication), publication.protocol);
  }

  #listen(vm: Vm, publication: Publication): void {
    const names = { host: formatEndpoint(publication.host), vm: vm.name, port: publication.port };
    if (publication.protocol === "udp") {
      this.#listening.set(publication, this.#bind(vm, publication));
      return;
    }
    try {
      this.#listening.set(
        publication,
        this.host.listen(publication.host, (connection) => this.#accept(vm, publication, connection)),
      );
      log.info("{host} is published: {vm} port {port}", names);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      log.error("{host} cannot be published for {vm} port {port}: {error}", {
        ...names,
        error: errnoName(error.errno),
      });
    }
  }

  /** Open the circuit of a published datagram port; it ends by disposing what is returned. */
  #bind(vm: Vm, publication: Publication): Disposable {
    const listener = this.#listener(vm, publication)!;
    const names = { host: formatEndpoint(publication.host), vm: vm.name, port: publication.port };
    let opened: OpenedDatagram | undefined;
    let ended = false;
    const end = (): void => {
      ended = true;
      if (opened) this.circuits.end(opened.circuit, Errno.ECONNRESET);
    };
    const open = async (): Promise<void> => {
      const place = await this.#place(vm);
      if (ended) return this.arenas.giveSlot(place.arena, place.slot);
      const local = this.#destination(vm, publication);
      opened = this.circuits.openPublished(listener, local, publication.host, place, (address) => {
        const admission = this.gate.ask({
          protocol: "udp",
          from: "host",
          source: address,
          to: vm.name,
          destination: local,
        });
        if (!opened) return;
        if (opened.flows.full) opened.flows.forgetOldest();
        opened.flows.set(admission, address, address);
      });
      if (!opened) throw new Error("the address is in use, or the VM takes no circuit");
      listener.outstanding++;
      vm.hostDatagrams.set(datagramKey(local), opened);
      log.info("{host} is published: {vm} datagram port {port}", names);
    };
    open().catch((error: Error) => {
      log.error("{host} cannot be published for {vm} port {port}: {reason}", { ...names, reason: error.message });
    });
    return { [Symbol.dispose]: end };
  }

  async #place(vm: Vm): Promise<Place> {
    for (;;) {
      const place = this.arenas.takeSlot(vm, HOST);
      if (place) return place;
      await this.arenas.open(vm, HOST);
    }
  }

  #accept(vm: Vm, publication: Publication, connection: HostConnection): void {
    const destination = this.#destination(vm, publication);
    const admission = this.gate.ask({
      protocol: publication.protocol,
      from: "host",
      source: connection.remote,
      to: vm.name,
      destination,
    });
    if (!admission.verdict.allow) return connection.refuse();
    const listener = this.#listener(vm, publication);
    if (!listener?.hasCredit) return this.#refuse(connection, admission, Errno.ECONNREFUSED, "nobody accepts");
    listener.outstanding++;
    this.#opening.set(connection, admission);
    this.#establish(connection, listener, admission).catch((error: Error) => {
      if (this.#opening.has(connection)) this.#refuse(connection, admission, Errno.ENOBUFS, error.message);
      return false;
    }).then((established) => {
      this.#opening.delete(connection);
      if (!established) listener.outstanding--;
    });
  }

  #refuse(connection: HostConnection, admission: Admission, errno: number, reason: string): void {
    const { source, to, destination } = admission.attempt;
    log.warn("refused: {from} -> {to} {destination}: {reason}", {
      from: formatEndpoint(source),
      to,
      destination: formatEndpoint(destination),
      reason,
    });
    this.gate.recorder.failed(admission, errno);
    connection.refuse();
  }

  async #establish(connection: HostConnection, listener: Listener, admission: Admission): Promise<boolean> {
    const place = await this.#place(listener.vm);
    if (!this.#opening.has(connection) || listener.gone) {
      this.arenas.giveSlot(place.arena, place.slot);
      if (listener.gone) throw new Error("nobody listens any more");
      return false;
    }
    if (!this.circuits.openInbound(connection, listener, admission, place)) {
      throw new Error("the VM takes no circuit");
    }
    return true;
  }
}
