/**
 * The circuits of a switch: set up in a slot that both ends are told of, kept until both have closed or are gone, then
 * given back and recorded.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock } from "../clock.ts";
import { Errno, SystemError } from "../errno.ts";
import { type Endpoint, unspecified } from "../net/address.ts";
import type { Arena } from "./arena.ts";
import type { Arenas } from "./arenas.ts";
import { type Admission, denialErrno } from "./admission.ts";
import { background } from "./background.ts";
import { Chunks } from "./chunks.ts";
import {
  become,
  blame,
  type Circuit,
  type CircuitEnd,
  type HostEnd,
  logClosed,
  logOpened,
  outcomeOf,
  peerOf,
  type VmEnd,
} from "./circuit.ts";
import { DatagramSockets, type OpenedDatagram } from "./datagram_sockets.ts";
import type { Flows } from "./flows.ts";
import type { HostConnection } from "./host.ts";
import { HostEnds } from "./host_ends.ts";
import type { Listener, Protocol } from "./listener.ts";
import type { Notice, Notices } from "./notices.ts";
import { PerVm } from "./per_vm.ts";
import {
  CONNECT_HOST,
  type ControlRequest,
  encodeIncoming,
  encodeReset,
  type Extents,
  type SocketOptions,
} from "./records.ts";
import type { Recorder } from "./recorder.ts";
import type { Signals } from "./signals.ts";
import type { Vm } from "./vm.ts";

const log = getLogger(["csvn", "circuit"]);

/** Circuits of a VM that went down which are closed in one turn: some milliseconds. */
const CLOSES_PER_TURN = 1000;
/** Ends of a host circuit that its control page has told the guest of. */
const RESETS: ReadonlySet<number> = new Set([Errno.ECONNRESET, Errno.EPIPE, Errno.EPROTO]);

/** A place for a circuit. */
export interface Place {
  readonly arena: Arena;
  readonly slot: number;
}

/** What the connecting side is told of a new circuit. */
export interface Opened {
  readonly circuit: Circuit;
  readonly id: number;
  readonly extents: Extents;
}

/** One end of a circuit, and the circuit. */
export interface HeldCircuit {
  readonly circuit: Circuit;
  readonly end: VmEnd;
}

/** All circuits of a switch. */
export class Circuits implements Disposable {
  /** Datagram sockets' circuits to the host's stack. */
  readonly datagrams = new DatagramSockets();
  readonly #live = new Set<Circuit>();
  readonly #held = new PerVm(() => new Map<number, HeldCircuit>());
  #count = 0;
  #disposed = false;

  readonly #hostEnds: HostEnds;
  /** What VMs that went down held. */
  readonly #departed: Chunks<HeldCircuit>;

  readonly #violations: Notice;

  constructor(
    readonly arenas: Arenas,
    readonly signals: Signals,
    readonly recorder: Recorder,
    readonly clock: Clock,
    notices: Notices,
  ) {
    this.#violations = notices.of("violations of the ring's rules", log, "warn");
    this.#hostEnds = new HostEnds(
      arenas.host,
      recorder,
      clock,
      arenas.limits,
      (...done) => this.#hostDone(...done),
    );
    this.#departed = new Chunks(clock, CLOSES_PER_TURN, (held) => this.#depart(held));
  }

  /** Ends that a VM has not closed, by its ids. */
  of(vm: Vm): Map<number, HeldCircuit> {
    return this.#held.of(vm);
  }

  /** The flows of a datagram circuit to the host's stack; undefined for any other. */
  flowsOf(circuit: Circuit): Flows | undefined {
    return this.#hostEnds.flowsOf(circuit);
  }

  /** How many flows a VM has. */
  flowCount(vm: Vm): number {
    return this.#hostEnds.flowCount(vm);
  }

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
   * Set a circuit up between two VMs, and announce it to the listener.
   *
   * @returns undefined when one of the VMs has no id left, or its listener cannot be told; the slot is then given back.
   */
  open(vm: Vm, listener: Listener, admission: Admission, place: Place): Opened | undefined {
    const { source, destination } = admission.attempt;
    const here = this.#vmEnd(vm, source);
    const there = here && this.#vmEnd(listener.vm, destination);
    if (!there) {
      if (here) vm.ids.give(here.id);
      this.arenas.giveSlot(place.arena, place.slot);
      return undefined;
    }
    const circuit = this.#add(listener.protocol, [here, there], place, admission);
    let told = false;
    try {
      told = this.#route(here, there) && this.#announce(circuit, there, listener, source);
    } finally {
      if (!told) this.abandon(circuit);
    }
    if (!told) return undefined;
    this.#opened(circuit);
    return { circuit, id: here.id, extents: this.#extents(circuit, 0) };
  }

  /**
   * Set a circuit up from a VM to the host's stack, which connects.
   *
   * @param options Of the VM's socket.
   * @param outcome Told once, later: 0 when it is connected, or the errno that it failed with; the slot is then given back.
   * @returns undefined when the VM has no id left; the slot is then given back.
   */
  openOutbound(
    vm: Vm,
    actual: Endpoint,
    admission: Admission,
    place: Place,
    options: SocketOptions | undefined,
    outcome: (errno: number) => void,
  ): Opened | undefined {
    const { source, destination } = admission.attempt;
    const opening = this.#outbound("tcp", vm, source, destination, place, admission);
    if (!opening) return undefined;
    const { circuit, here, there } = opening;
    this.#hostEnds.stream(circuit, here, there, 1, actual, options, (errno) => {
      if (errno !== 0) this.abandon(circuit);
      else this.#opened(circuit);
      outcome(errno);
    });
    return { circuit, id: here.id, extents: this.#extents(circuit, 0) };
  }

  /** Set a circuit up from the host's network to a listener; one that cannot be is refused. */
  openInbound(connection: HostConnection, listener: Listener, admission: Admission, place: Place): boolean {
    const opening = this.#inbound("tcp", listener, admission.attempt.destination, connection.remote, place, admission);
    if (!opening) {
      connection.refuse();
      return false;
    }
    const { circuit, here, there } = opening;
    this.#hostEnds.stream(circuit, there, here, 0, connection, undefined, (errno) => {
      if (errno !== 0) this.#hostDone(circuit, there.vm, here, 0n, 0n, errno);
    });
    if (!this.#announce(circuit, there, listener, connection.remote)) {
      this.abandon(circuit);
      return false;
    }
    this.#opened(circuit);
    return true;
  }

  /**
   * Set a datagram circuit up from a VM's socket to the host's stack, where no address is permitted yet.
   *
   * @param outcome Told once, later: 0, or the errno that it failed with; the slot is then given back.
   * @returns undefined when the VM has no id left; the slot is then given back.
   */
  openDatagram(
    vm: Vm,
    source: Endpoint,
    destination: Endpoint,
    place: Place,
    outcome: (errno: number) => void,
  ): OpenedDatagram | undefined {
    const opening = this.#outbound("udp", vm, source, destination, place, undefined);
    if (!opening) return undefined;
    const { circuit, here, there } = opening;
    const opened = (errno: number): void => {
      if (errno !== 0) this.abandon(circuit);
      else this.#opened(circuit);
      outcome(errno);
    };
    const flows = this.#hostEnds.datagram(circuit, here, there, 1, undefined, opened, () => {});
    return { circuit, id: here.id, extents: this.#extents(circuit, 0), flows };
  }

  /**
   * Set a datagram circuit up from a published port to a VM's bound socket.
   *
   * @param source Told of addresses from which datagrams come that were not permitted yet.
   * @param outcome Told once, later: 0, or the errno that it failed with; the slot is then given back.
   * @returns undefined when the VM has no id left; the slot is then given back.
   */
  openPublished(
    listener: Listener,
    local: Endpoint,
    bind: Endpoint,
    place: Place,
    source: (address: Endpoint) => void,
    outcome: (errno: number) => void,
  ): OpenedDatagram | undefined {
    const anybody = { address: unspecified(local.address.family), port: 0 };
    const opening = this.#inbound("udp", listener, local, anybody, place, undefined);
    if (!opening) return undefined;
    const { circuit, here, there } = opening;
    const opened = (errno: number): void => {
      const failed = errno || (this.#announce(circuit, there, listener, anybody) ? 0 : Errno.ENOBUFS);
      if (failed !== 0) this.abandon(circuit);
      else this.#opened(circuit);
      outcome(failed);
    };
    const flows = this.#hostEnds.datagram(circuit, there, here, 0, bind, opened, source);
    return { circuit, id: there.id, extents: this.#extents(circuit, 1), flows };
  }

  /** Give up a circuit whose VM was never told of it. */
  abandon(circuit: Circuit): void {
    for (const end of circuit.ends) this.#close(circuit, end);
  }

  /** End a circuit at both ends. @param errno What its sockets are told; 0: that it is over. */
  end(circuit: Circuit, errno: number): void {
    if (circuit.state === "opening") return this.abandon(circuit);
    for (const end of circuit.ends) this.#reset(circuit, end, errno);
  }

  /** Policy has forbidden a circuit: it is ended at both ends, and no doorbell passes any more. */
  cut(circuit: Circuit): void {
    become(circuit, "cut");
    circuit.arena.cut++;
    blame(circuit, "policy");
    const [a] = circuit.ends;
    // The last one to close waits for the same.
    if (circuit.direct && a.vm) background(a.vm.device.removeRoute((a as VmEnd).id));
    // Where a connection was, a reset; for datagrams, what a network would say of the next one.
    this.end(circuit, circuit.protocol === "tcp" ? Errno.ECONNRESET : denialErrno(circuit.admission!.current));
    this.#revoke(circuit.arena);
  }

  /** The options of a VM's socket have changed; false when it holds no such circuit. Between VMs they mean nothing. */
  setOptions(vm: Vm, id: number, options: SocketOptions | undefined): boolean {
    const held = this.of(vm).get(id);
    if (!held) return false;
    const peer = peerOf(held.circuit, held.end);
    if (options && !peer.vm && !peer.closed) peer.host?.setOptions(options);
    return true;
  }

  /** A driver has closed its end; false when it holds no such circuit. */
  closed(vm: Vm, request: Extract<ControlRequest, { type: "CLOSE" }>): boolean {
    const held = this.of(vm).get(request.circuit);
    if (!held) return false;
    const { circuit, end } = held;
    end.sent = request.sent;
    end.received = request.received;
    // What a forced end leaves behind looks like a violation.
    if (request.violation && circuit.state !== "cut") {
      blame(circuit, "violation");
      const peer = peerOf(circuit, end);
      this.#violations.tell(vm.name, "circuit {circuit}: {peer} broke the ring's rules, says {vm}: reset", {
        circuit: circuit.number,
        peer: peer.vm?.name ?? "the host's stack",
        vm: vm.name,
      });
      this.#reset(circuit, peer, Errno.ECONNRESET);
    }
    const peer = peerOf(circuit, end);
    this.#close(circuit, end);
    if (!peer.vm && !peer.closed) {
      peer.host?.finish();
    } else if (circuit.protocol === "udp") {
      // There is no FIN between datagram sockets: the other end is told that it may go too.
      this.#reset(circuit, peer, 0);
    }
    return true;
  }

  /** A VM went down: its ends are closed, its peers' circuits reset. Of many, some a little later; its next driver has none of them. */
  vmDown(vm: Vm): void {
    const held = [...this.of(vm).values()];
    this.of(vm).clear();
    this.datagrams.of(vm).clear();
    for (const { end } of held) end.reset = true;
    this.#departed.add(held);
  }

  /** Close what VMs that went down have left, and what the host's stack has not finished. */
  [Symbol.dispose](): void {
    this.#departed.finish();
    for (const circuit of this.#live) for (const end of circuit.ends) this.#close(circuit, end);
    this.#disposed = true;
  }

  #depart({ circuit, end }: HeldCircuit): void {
    if (end.closed) return;
    blame(circuit, "gone");
    this.#reset(circuit, peerOf(circuit, end), Errno.ECONNRESET);
    this.#close(circuit, end);
  }

  /** Is nothing left in an arena that policy allows? */
  #revoke(arena: Arena): void {
    if (!arena.forHost && arena.cut > 0 && arena.cut === arena.circuits) this.arenas.revoke(arena);
  }

  /** A circuit from a VM to the host's stack, of which nobody knows yet. */
  #outbound(
    protocol: Protocol,
    vm: Vm,
    source: Endpoint,
    destination: Endpoint,
    place: Place,
    admission: Admission | undefined,
  ): { circuit: Circuit; here: VmEnd; there: HostEnd } | undefined {
    const here = this.#vmEnd(vm, source);
    if (!here) {
      this.arenas.giveSlot(place.arena, place.slot);
      return undefined;
    }
    const there: HostEnd = { host: undefined, endpoint: destination, closed: false };
    return { circuit: this.#add(protocol, [here, there], place, admission), here, there };
  }

  /** A circuit from the host's network to a VM, of which nobody knows yet. */
  #inbound(
    protocol: Protocol,
    { vm }: Listener,
    local: Endpoint,
    remote: Endpoint,
    place: Place,
    admission: Admission | undefined,
  ): { circuit: Circuit; here: HostEnd; there: VmEnd } | undefined {
    const there = this.#vmEnd(vm, local);
    if (!there) {
      this.arenas.giveSlot(place.arena, place.slot);
      return undefined;
    }
    const here: HostEnd = { host: undefined, endpoint: remote, closed: false };
    return { circuit: this.#add(protocol, [here, there], place, admission), here, there };
  }

  /** A VM's end with a new id, or undefined when it has none left. */
  #vmEnd(vm: Vm, endpoint: Endpoint): VmEnd | undefined {
    const id = vm.ids.take();
    return id === undefined ? undefined : { vm, id, endpoint, closed: false, reset: false };
  }

  #add(
    protocol: Protocol,
    ends: readonly [CircuitEnd, CircuitEnd],
    { arena, slot }: Place,
    admission: Admission | undefined,
  ): Circuit {
    const circuit: Circuit = {
      number: ++this.#count,
      protocol,
      arena,
      slot,
      ends,
      openedAt: this.clock.now(),
      state: "opening",
      why: "closed",
      direct: ends.every(({ vm }) => vm !== undefined),
      admission,
      ended: undefined,
    };
    this.#live.add(circuit);
    for (const end of ends) if (end.vm) this.of(end.vm).set(end.id, { circuit, end });
    return circuit;
  }

  /** Both ends know of it. */
  #opened(circuit: Circuit): void {
    become(circuit, "open");
    if (circuit.admission) this.recorder.opened(circuit.admission, circuit);
    logOpened(circuit);
  }

  #announce(circuit: Circuit, end: VmEnd, listener: Listener, remote: Endpoint): boolean {
    return this.signals.announce(end.vm, (token) =>
      encodeIncoming(token, {
        listener: listener.id,
        circuit: end.id,
        extents: this.#extents(circuit, 1),
        remote,
        local: end.endpoint,
        flags: circuit.direct ? 0 : CONNECT_HOST,
      }));
  }

  /** Doorbells both ways; false when the data plane refuses. */
  #route(a: VmEnd, b: VmEnd): boolean {
    try {
      a.vm.device.addRoute(a.id, b.vm.device, b.id);
      return true;
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      log.debug("no doorbells between {a} and {b}: {reason}", { a: a.vm.name, b: b.vm.name, reason: error.message });
      return false;
    }
  }

  #hostDone(circuit: Circuit, vm: Vm, end: HostEnd, sent: bigint, received: bigint, errno: number): void {
    end.sent = sent;
    end.received = received;
    if (errno !== 0) blame(circuit, errno === Errno.EPROTO ? "violation" : "reset");
    if (errno === Errno.EPROTO) {
      const names = { circuit: circuit.number, vm: vm.name };
      this.#violations.tell(vm.name, "circuit {circuit}: {vm} broke the ring's rules: reset", names);
    }
    this.#close(circuit, end);
    // A control page knows but resets.
    if (errno !== 0 && !RESETS.has(errno)) this.#reset(circuit, peerOf(circuit, end), errno);
  }

  #extents(circuit: Circuit, side: 0 | 1): Extents {
    const { vm } = circuit.ends[side] as VmEnd;
    return circuit.arena.extents(circuit.slot, side, circuit.arena.endOf(vm)!.id);
  }

  /** End a circuit from its other end on. */
  #reset(circuit: Circuit, end: CircuitEnd, errno: number): void {
    if (end.closed) return;
    if (!end.vm) return this.#close(circuit, end);
    if (end.reset) return;
    end.reset = true;
    this.signals.announce(end.vm, (token) => encodeReset(token, end.id, errno), true);
  }

  /** One end is closed; after the second, all is given back. */
  #close(circuit: Circuit, end: CircuitEnd): void {
    if (end.closed) return;
    end.closed = true;
    if (end.vm) {
      this.of(end.vm).delete(end.id);
      this.datagrams.forget(end);
    } else {
      // The next datagram of the socket is to have another circuit, though its VM has not closed this one.
      const guest = peerOf(circuit, end);
      if (guest.vm) this.datagrams.forget(guest);
      this.flowsOf(circuit)?.close(circuit.why);
      end.left = end.host?.close();
    }
    // Until the other end has closed too, this end's doorbells may still be under way: the route stays.
    if (!peerOf(circuit, end).closed) return;
    this.#over(circuit);
  }

  /** Both ends have closed: what it held is given back once the data plane has let go of it. */
  #over(circuit: Circuit): void {
    const { state } = circuit;
    become(circuit, "closing");
    this.#live.delete(circuit);
    // It may be the device of a VM that is gone, which knows nothing of its peers any more.
    const left = circuit.ends.map((end) => end.vm ? end.vm.device.removeRoute(end.id) : end.left);
    background(Promise.all(left).then(() => this.#giveBack(circuit, state === "cut")));
    circuit.ended?.();
    const outcome = outcomeOf(circuit, this.clock);
    if (state !== "opening" && circuit.admission) this.recorder.closed(circuit.admission, circuit, outcome);
    logClosed(circuit, outcome);
  }

  #giveBack(circuit: Circuit, cut: boolean): void {
    become(circuit, "closed");
    if (this.#disposed) return;
    for (const end of circuit.ends) if (end.vm) end.vm.ids.give((end as VmEnd).id);
    if (cut) circuit.arena.cut--;
    this.arenas.giveSlot(circuit.arena, circuit.slot);
    this.#revoke(circuit.arena);
  }
}
