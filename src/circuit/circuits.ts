/**
 * The circuits of a switch: set up in a slot that both ends are told of, kept until both have closed or are gone, then
 * given back and recorded.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { Errno, SystemError } from "../errno.ts";
import type { Endpoint } from "../net/address.ts";
import type { Arena } from "./arena.ts";
import type { Arenas } from "./arenas.ts";
import { type Circuit, type CircuitEnd, describeEnds, peerOf } from "./circuit.ts";
import type { Listener } from "./listener.ts";
import { type ControlRequest, encodeIncoming, encodeReset, type Extents } from "./records.ts";
import type { Signals } from "./signals.ts";
import type { Vm } from "./vm.ts";

const log = getLogger(["csvn", "circuit"]);

/** What the connecting side is told of a new circuit. */
export interface Opened {
  readonly id: number;
  readonly extents: Extents;
}

/** All circuits of a switch. */
export class Circuits {
  readonly #live = new Set<Circuit>();
  #count = 0;

  constructor(readonly arenas: Arenas, readonly signals: Signals) {}

  /** All circuits that are not closed at both ends. */
  get all(): Iterable<Circuit> {
    return this.#live;
  }

  /** How many there are. */
  get size(): number {
    return this.#live.size;
  }

  /** How many there have been. */
  get total(): number {
    return this.#count;
  }

  /**
   * Set a circuit up in a slot and announce it to the listener.
   *
   * @returns undefined when one of the VMs has no id left, or its listener cannot be told; the slot is then given back.
   */
  open(
    vm: Vm,
    source: Endpoint,
    listener: Listener,
    destination: Endpoint,
    place: { arena: Arena; slot: number },
  ): Opened | undefined {
    const { arena, slot } = place;
    const here = vm.ids.take();
    const there = listener.vm.ids.take();
    if (here === undefined || there === undefined) {
      if (here !== undefined) vm.ids.give(here);
      if (there !== undefined) listener.vm.ids.give(there);
      this.arenas.giveSlot(arena, slot);
      return undefined;
    }
    const ends: [CircuitEnd, CircuitEnd] = [
      { vm, id: here, endpoint: source, closed: false },
      { vm: listener.vm, id: there, endpoint: destination, closed: false },
    ];
    const circuit: Circuit = { number: ++this.#count, arena, slot, ends, openedAt: Date.now() };
    this.#live.add(circuit);
    for (const end of ends) end.vm.circuits.set(end.id, { circuit, end });
    const announced = this.#route(ends) && this.signals.announce(listener.vm, (token) =>
      encodeIncoming(token, {
        listener: listener.id,
        circuit: there,
        extents: this.#extents(circuit, 1),
        remote: source,
        local: destination,
      }));
    if (!announced) {
      // Neither end was told.
      for (const end of ends) this.#close(circuit, end);
      return undefined;
    }
    log.info("circuit {circuit} open: {ends}, direct", { circuit: circuit.number, ends: describeEnds(circuit) });
    return { id: here, extents: this.#extents(circuit, 0) };
  }

  /** A driver has closed its end; false when it holds no such circuit. */
  closed(vm: Vm, request: Extract<ControlRequest, { type: "CLOSE" }>): boolean {
    const held = vm.circuits.get(request.circuit);
    if (!held) return false;
    const { circuit, end } = held;
    end.sent = request.sent;
    end.received = request.received;
    if (request.violation) {
      const peer = peerOf(circuit, end);
      log.warn("circuit {circuit}: {peer} broke the ring's rules, says {vm}: reset", {
        circuit: circuit.number,
        peer: peer.vm.name,
        vm: vm.name,
      });
      this.#reset(peer, Errno.ECONNRESET);
    }
    this.#close(circuit, end);
    return true;
  }

  /** A VM went down: its ends are closed, its peers' circuits reset. */
  vmDown(vm: Vm): void {
    for (const { circuit, end } of [...vm.circuits.values()]) {
      this.#reset(peerOf(circuit, end), Errno.ECONNRESET);
      this.#close(circuit, end);
    }
  }

  #route([a, b]: readonly [CircuitEnd, CircuitEnd]): boolean {
    try {
      a.vm.device.addRoute(a.id, b.vm.device, b.id);
      return true;
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      log.error("no doorbells between {from} and {to}: {reason}", {
        from: a.vm.name,
        to: b.vm.name,
        reason: error.message,
      });
      return false;
    }
  }

  #extents(circuit: Circuit, side: 0 | 1): Extents {
    const end = circuit.ends[side];
    return circuit.arena.extents(circuit.slot, side, circuit.arena.endOf(end.vm)!.id);
  }

  #reset(end: CircuitEnd, errno: number): void {
    if (!end.closed) this.signals.announce(end.vm, (token) => encodeReset(token, end.id, errno));
  }

  /** One end is closed; after the second, all is given back. */
  #close(circuit: Circuit, end: CircuitEnd): void {
    if (end.closed) return;
    end.closed = true;
    end.vm.circuits.delete(end.id);
    // Until the other end has closed too, this end's doorbells may still be under way: the route stays.
    if (!peerOf(circuit, end).closed) return;
    const [a, b] = circuit.ends;
    // Either may be the device of a VM that is gone, which knows nothing of its peers any more.
    for (const { vm, id } of circuit.ends) vm.device.removeRoute(id);
    a.vm.ids.give(a.id);
    b.vm.ids.give(b.id);
    this.#live.delete(circuit);
    this.arenas.giveSlot(circuit.arena, circuit.slot);
    log.info("circuit {circuit} closed: {ends}, direct, {sent} bytes there, {received} back, {seconds} s", {
      circuit: circuit.number,
      ends: describeEnds(circuit),
      // What a VM that died cannot tell any more, its peer can.
      sent: a.sent ?? b.received ?? "unknown",
      received: b.sent ?? a.received ?? "unknown",
      seconds: (Date.now() - circuit.openedAt) / 1000,
    });
  }
}
