/**
 * Connections from the host's network to a VM's listener: from the moment that the host's stack has accepted one until it is a circuit, or refused.
 *
 * Theory of operation. Policy is asked at once. A connection that is let in *waits* while the listener's backlog is full, in one queue with the
 * attempts of VMs, as a connection would in the backlog of a host's own server: until there is room, the listener goes, policy changes its mind,
 * its client resets it, or its time is up. Then it is *opening*, with the backlog's credit, until there is a place in an arena. Every end but
 * success is a reset, whatever policy wants a denial to look like: the host's stack has accepted it already.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock, Timer } from "../clock.ts";
import { Errno, SystemError } from "../errno.ts";
import { formatEndpoint } from "../net/address.ts";
import type { Admission } from "./admission.ts";
import type { Gatekeeper } from "./gatekeeper.ts";
import { type Arenas, HOST } from "./arenas.ts";
import type { Circuits, Place } from "./circuits.ts";
import type { HostConnection } from "./host.ts";
import type { Limits } from "./limits.ts";
import type { Listener, Waiter } from "./listener.ts";
import { fromHost } from "./log_budget.ts";
import type { Notice, Notices } from "./notices.ts";
import type { Vm } from "./vm.ts";

const log = getLogger(["csvn", "publish"]);

/** One that is not a circuit yet. */
interface Inbound extends Waiter {
  readonly connection: HostConnection;
  readonly listener: Listener;
  state: "waiting" | "opening" | "done";
  timer: Timer | undefined;
}

/** What connections need. */
export interface InboundOptions {
  readonly arenas: Arenas;
  readonly circuits: Circuits;
  readonly gate: Gatekeeper;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly notices: Notices;
  /** A listener may have room again. */
  readonly admit: (listener: Listener) => void;
}

/** A place for a circuit of a VM to the host's stack. @throws {Error} when there is none to be had. */
export async function placeFor(arenas: Arenas, vm: Vm): Promise<Place> {
  for (;;) {
    if (vm.ids.isEmpty) throw new SystemError("take a circuit id", Errno.ENOBUFS);
    const place = arenas.takeSlot(vm, HOST);
    if (place) return place;
    await arenas.open(vm, HOST);
  }
}

/** All of them. */
export class InboundConnections implements Disposable {
  readonly #all = new Set<Inbound>();

  readonly #refused: Notice;

  constructor(readonly options: InboundOptions) {
    this.#refused = options.notices.of("refused connections", log, "warn");
  }

  /** A connection has come in; policy has been asked. @param listener Who is to take it; undefined: nobody. */
  accept(connection: HostConnection, listener: Listener | undefined, admission: Admission): void {
    if (!admission.verdict.allow) return connection.refuse();
    if (!listener) {
      this.#tell(admission, Errno.ECONNREFUSED, "nobody listens");
      return connection.refuse();
    }
    const inbound: Inbound = {
      connection,
      listener,
      admission,
      state: "waiting",
      timer: undefined,
      proceed: () => this.#open(inbound),
      refused: () => this.#refuse(inbound, Errno.ECONNREFUSED, "nobody listens any more"),
    };
    this.#all.add(inbound);
    if (listener.hasCredit) this.#open(inbound);
    else this.#wait(inbound);
  }

  /** Policy has changed: ask again. How many there were, and how many of them are over. */
  revise(): { checked: number; cut: number } {
    // All of them first: where one gives its place up, none may take it that is denied as well.
    for (const { admission } of this.#all) this.options.gate.review(admission);
    // Those that wait go first: where others give their credit back, nobody is to look at them again and again.
    const denied = [...this.#all].filter(({ admission }) => !admission.current.allow)
      .sort((a, b) => Number(b.state === "waiting") - Number(a.state === "waiting"));
    const count = { checked: this.#all.size, cut: denied.length };
    for (const inbound of denied) {
      this.options.gate.denied(inbound.admission);
      this.#end(inbound);
    }
    return count;
  }

  [Symbol.dispose](): void {
    for (const inbound of [...this.#all]) this.#end(inbound);
  }

  #wait(inbound: Inbound): void {
    const { connection, listener } = inbound;
    const { limits, clock } = this.options;
    if (listener.waiting.size >= limits.maxInbound) {
      return this.#refuse(inbound, Errno.ECONNREFUSED, "too many wait to be accepted");
    }
    connection.wait({ gone: () => this.#refuse(inbound, Errno.ECONNRESET, "its client has gone") });
    listener.waiting.add(inbound);
    inbound.timer = clock.after(limits.connectMs, () => this.#refuse(inbound, Errno.ETIMEDOUT, "nobody accepts"));
  }

  /** There is room in the backlog. */
  #open(inbound: Inbound): void {
    const { listener } = inbound;
    inbound.timer?.cancel();
    inbound.state = "opening";
    listener.outstanding++;
    this.#establish(inbound).catch((error: Error) => {
      // Until it is opened, nothing but what is thrown there says that it cannot be.
      this.#refuse(inbound, Errno.ENOBUFS, error.message);
    });
  }

  async #establish(inbound: Inbound): Promise<void> {
    const { connection, listener, admission } = inbound;
    const { arenas, circuits } = this.options;
    const place = await placeFor(arenas, listener.vm);
    if (inbound.state !== "opening") return arenas.giveSlot(place.arena, place.slot);
    if (listener.gone) {
      arenas.giveSlot(place.arena, place.slot);
      return inbound.refused();
    }
    // From here on the connection is the circuit's, also when it cannot be made.
    this.#all.delete(inbound);
    inbound.state = "done";
    if (circuits.openInbound(connection, listener, admission, place)) return;
    this.#tell(admission, Errno.ENOBUFS, "the VM takes no circuit");
    this.#giveCredit(listener);
  }

  #refuse(inbound: Inbound, errno: number, reason: string): void {
    if (inbound.state === "done") return;
    this.#tell(inbound.admission, errno, reason);
    this.#end(inbound);
  }

  /** It comes to nothing: give back what it holds. */
  #end(inbound: Inbound): void {
    const { connection, listener, state } = inbound;
    inbound.state = "done";
    this.#all.delete(inbound);
    inbound.timer?.cancel();
    listener.waiting.delete(inbound);
    connection.refuse();
    if (state === "opening") this.#giveCredit(listener);
  }

  #giveCredit(listener: Listener): void {
    listener.outstanding--;
    this.options.admit(listener);
  }

  #tell(admission: Admission, errno: number, reason: string): void {
    const { source, to, destination } = admission.attempt;
    this.#refused.tell(fromHost(to), "refused: {from} -> {to} {destination}: {reason}", {
      from: formatEndpoint(source),
      to,
      destination: formatEndpoint(destination),
      reason,
    });
    this.options.gate.recorder.failed(admission, errno);
  }
}
