/**
 * Connection attempts: from a CONNECT to its answer.
 *
 * Theory of operation. An attempt is checked, its destination looked up, the verdict asked: all at once, within the
 * request. What is left may take time: *waiting* for the listener's backlog, then *opening* an arena for the pair, or *dropped*: denied
 * without an answer, as policy wishes. An attempt is answered exactly once, by `#succeed` or `#finish`; whatever ends it (CANCEL, time, either VM, the
 * listener, another policy) goes there. What an attempt holds in a state, it is given and gives back in `#become`.
 *
 * An attempt that fails makes room for one that waits, which may fail at once as well: `admit` takes them one after the other, so that no number
 * of them is too many.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock, Timer } from "../clock.ts";
import { Errno, errnoName } from "../errno.ts";
import { type Endpoint, formatEndpoint, isUnspecified, unmapped } from "../net/address.ts";
import { type Admission, denialErrno } from "./admission.ts";
import type { Gatekeeper } from "./gatekeeper.ts";
import { type Arenas, HOST } from "./arenas.ts";
import type { Circuit } from "./circuit.ts";
import type { Circuits, Opened, Place } from "./circuits.ts";
import { datagramKey, type OpenedDatagram } from "./datagram_sockets.ts";
import type { Destinations } from "./destinations.ts";
import type { Limits } from "./limits.ts";
import { chooseListener, Listener, type Listeners, type Protocol, type Waiter } from "./listener.ts";
import {
  CONNECT_HOST,
  type ControlRequest,
  encodeConnectResponse,
  encodeResponse,
  type Header,
  PROTOCOL_DATAGRAM,
  PROTOCOL_STREAM,
  type SocketOptions,
} from "./records.ts";
import type { Notice, Notices } from "./notices.ts";
import { PerVm } from "./per_vm.ts";
import type { Attempt } from "./verdict.ts";
import type { Vm } from "./vm.ts";

const log = getLogger(["csvn", "connect"]);

const protocols = new Map<number, Protocol>([[PROTOCOL_STREAM, "tcp"], [PROTOCOL_DATAGRAM, "udp"]]);

type ConnectRequest = Extract<ControlRequest, { type: "CONNECT" }>;

/** A destination that is reached by the host's stack. */
export interface Outside {
  readonly protocol: Protocol;
  /** Where it really leads. */
  readonly actual: Endpoint;
}

/** What an attempt is in:
 * - `begun`: it holds nothing;
 * - `waiting`: for its listener's backlog, in the listener's queue, for a time;
 * - `opening`: for a place, or for the host's stack; it holds its listener's credit, and its circuit once there is one;
 * - `dropped`: it is denied without an answer: until its time is up, or it is canceled;
 * - `established`: it was answered with a circuit, and the credit is the circuit's;
 * - `failed`: it was answered with an error.
 */
export type AttemptState = "begun" | "waiting" | "opening" | "dropped" | "established" | "failed";

/** An attempt that has not been answered. */
export interface ConnectAttempt extends Waiter {
  readonly vm: Vm;
  readonly header: Header;
  readonly ticket: number;
  readonly admission: Admission;
  /** Of the VM's socket. */
  readonly options: SocketOptions | undefined;
  /** Who is to take it; undefined: nobody, it was dropped. */
  readonly target: Listener | Outside | undefined;
  state: AttemptState;
  /** Its circuit to the host's stack, which is connecting. */
  circuit: Circuit | undefined;
  timer: Timer | undefined;
}

/** Handles connection attempts. */
export class Connector {
  /** Listeners that may have room. */
  readonly #roomy = new Set<Listener>();
  /** Attempts that are not decided, by the token of their CONNECT. */
  readonly attempts = new PerVm(() => new Map<bigint, ConnectAttempt>());
  /** What waits for datagram circuits that are being opened. */
  readonly #unopened = new WeakMap<Circuit, [ConnectAttempt, Outside][]>();
  #admitting = false;
  readonly #unheard: Notice;
  readonly #unplaced: Notice;

  constructor(
    readonly destinations: Destinations,
    readonly listeners: PerVm<Listeners>,
    readonly arenas: Arenas,
    readonly circuits: Circuits,
    readonly limits: Limits,
    readonly gate: Gatekeeper,
    readonly clock: Clock,
    notices: Notices,
  ) {
    this.#unheard = notices.of("connections to where nobody listens", log, "info");
    this.#unplaced = notices.of("connections for which there is no arena", log, "warn");
  }

  /** A CONNECT. Answers it at once or later. */
  connect(vm: Vm, header: Header, ticket: number, request: ConnectRequest): void {
    const refuse = (errno: number): void => vm.device.reply(ticket, encodeResponse(header, errno));
    const source = this.#source(vm, request);
    if (typeof source === "number") return refuse(source);
    if (this.attempts.of(vm).size >= this.limits.maxAttempts) return refuse(Errno.EAGAIN);
    if (this.attempts.of(vm).has(header.token)) return refuse(Errno.EEXIST);
    const destination = { address: unmapped(request.remote.address), port: request.remote.port };
    const protocol = protocols.get(request.protocol)!;
    const found = this.destinations.of(vm, protocol, destination);
    const to = found.kind === "vm" ? found.vm.name : "host";
    const asked: Attempt = { protocol, from: vm.name, source, to, destination };
    if (found.kind === "none") {
      this.gate.refuse(asked, found.reason, found.errno);
      return refuse(found.errno);
    }
    const admission = this.gate.ask(asked);
    const begin = (target: Listener | Outside | undefined): ConnectAttempt => {
      const attempt: ConnectAttempt = {
        vm,
        header,
        ticket,
        admission,
        options: request.options,
        target,
        state: "begun",
        circuit: undefined,
        timer: undefined,
        proceed: () => {
          attempt.timer?.cancel();
          this.#establish(attempt, target as Listener);
        },
        refused: () => this.#finish(attempt, Errno.ECONNREFUSED),
      };
      this.attempts.of(vm).set(header.token, attempt);
      return attempt;
    };
    if (!admission.verdict.allow) {
      const errno = denialErrno(admission.verdict);
      return errno !== 0 ? refuse(errno) : this.#become(begin(undefined), "dropped");
    }
    const target = found.kind === "host" ? { protocol, actual: found.actual } : this.#listener(found.vm, asked);
    if (typeof target === "number") {
      this.gate.recorder.failed(admission, target);
      return refuse(target);
    }
    const attempt = begin(target);
    if (!(target instanceof Listener) || target.hasCredit) this.#establish(attempt, target);
    else if (target.protocol === "tcp") this.#wait(attempt, target);
    else this.#finish(attempt, Errno.ENOBUFS);
  }

  /** A CANCEL; false when there is no such attempt. */
  cancel(vm: Vm, token: bigint): boolean {
    const attempt = this.attempts.of(vm).get(token);
    if (attempt) this.#finish(attempt, Errno.ECANCELED);
    return attempt !== undefined;
  }

  /** A listener may have room again: let those in that wait, in order. Those that fail give their room to the next ones. */
  admit(listener: Listener): void {
    this.#roomy.add(listener);
    if (this.#admitting) return;
    this.#admitting = true;
    try {
      for (const roomy of this.#roomy) {
        // Whoever gives room back meanwhile puts it in again.
        this.#roomy.delete(roomy);
        for (const waiter of roomy.waiting) {
          if (!roomy.hasCredit || roomy.gone) break;
          if (!waiter.admission.current.allow) continue;
          roomy.waiting.delete(waiter);
          waiter.proceed();
        }
      }
    } finally {
      this.#admitting = false;
    }
  }

  /** A listener is gone: those that wait for it are refused. */
  listenerGone(listener: Listener): void {
    listener.gone = true;
    for (const waiter of [...listener.waiting]) waiter.refused();
  }

  /** A VM went down: its attempts are over, without an answer that anybody could read. */
  vmDown(vm: Vm): void {
    for (const attempt of [...this.attempts.of(vm).values()]) this.#finish(attempt, Errno.ENETDOWN);
    for (const listener of this.listeners.of(vm).values()) this.listenerGone(listener);
  }

  /** Policy has changed: ask again about the attempts of all VMs. How many there were, and how many of them are over. */
  revise(vms: Iterable<Vm>): { checked: number; cut: number } {
    const waiting = [...vms].flatMap((vm) => [...this.attempts.of(vm).values()])
      .filter(({ state }) => state === "waiting" || state === "opening");
    // All of them first: where one gives its place up, none may take it that is denied as well.
    for (const { admission } of waiting) this.gate.review(admission);
    // Those that wait go first: where others give their credit back, nobody is to look at them again and again.
    const denied = waiting.filter(({ admission }) => !admission.current.allow)
      .sort((a, b) => Number(b.state === "waiting") - Number(a.state === "waiting"));
    for (const attempt of denied) {
      this.gate.denied(attempt.admission);
      const errno = denialErrno(attempt.admission.current);
      if (errno !== 0) this.#finish(attempt, errno);
      else this.#become(attempt, "dropped");
    }
    return { checked: waiting.length, cut: denied.length };
  }

  /** The endpoint that an attempt comes from, or an errno. */
  #source(vm: Vm, { local, remote, protocol }: ConnectRequest): Endpoint | number {
    if (!protocols.has(protocol)) return Errno.EOPNOTSUPP;
    if (local.port === 0 || remote.port === 0) return Errno.EINVAL;
    const destination = unmapped(remote.address);
    if (isUnspecified(destination)) return Errno.EINVAL;
    const own = destination.family === 4 ? vm.identity.ipv4 : vm.identity.ipv6;
    const address = unmapped(local.address);
    if (!isUnspecified(address) && address.text !== own.text) return Errno.EADDRNOTAVAIL;
    return { address: own, port: local.port };
  }

  /** Who is to take the attempt, or the errno that it fails with. */
  #listener(vm: Vm, { protocol, from, to, destination }: Attempt): Listener | number {
    if (vm.state !== "ready") return Errno.EHOSTUNREACH;
    const listener = chooseListener(this.listeners.of(vm).at(protocol, destination.port), destination, protocol);
    if (!listener) {
      const names = { from, to, destination: formatEndpoint(destination) };
      this.#unheard.tell(from, "refused: {from} -> {to} {destination}: nobody listens", names);
    }
    return listener ?? Errno.ECONNREFUSED;
  }

  #wait(attempt: ConnectAttempt, listener: Listener): void {
    if (listener.waiting.size >= this.limits.maxBacklog) return this.#finish(attempt, Errno.ECONNREFUSED);
    this.#become(attempt, "waiting");
  }

  /** There is room in the backlog: set the circuit up, as soon as there is a place for it. */
  #establish(attempt: ConnectAttempt, target: Listener | Outside): void {
    this.#become(attempt, "opening");
    const { vm, admission } = attempt;
    try {
      const known = this.circuits.datagrams.of(vm).get(datagramKey(admission.attempt.source));
      if (known && !(target instanceof Listener) && target.protocol === "udp") this.#permit(attempt, target, known);
      else this.#place(attempt, target);
    } catch (error) {
      this.#bug(attempt, error);
    }
  }

  /** Find a place for it, or make one; not for what has no id. */
  #place(attempt: ConnectAttempt, target: Listener | Outside): void {
    const { vm } = attempt;
    if (vm.ids.isEmpty || (target instanceof Listener && target.vm.ids.isEmpty)) {
      return this.#finish(attempt, Errno.ENOBUFS);
    }
    const peer = target instanceof Listener ? target.vm : HOST;
    const place = this.arenas.takeSlot(vm, peer);
    if (place) return this.#open(attempt, target, place);
    this.arenas.open(vm, peer).then(
      () => {
        if (attempt.state !== "opening") return;
        if (target instanceof Listener && target.gone) this.#finish(attempt, Errno.ECONNREFUSED);
        // Others may have been quicker, and have filled the new arena too.
        else this.#place(attempt, target);
      },
      (error: Error) => {
        if (attempt.state !== "opening") return;
        this.#unplaced.tell(vm.name, "no arena between {from} and {to}: {reason}", {
          from: vm.name,
          to: target instanceof Listener ? target.vm.name : "the host's stack",
          reason: error.message,
        });
        const gone = target instanceof Listener && target.gone;
        this.#finish(attempt, gone ? Errno.ECONNREFUSED : Errno.ENOBUFS);
      },
    ).catch((error: unknown) => this.#bug(attempt, error));
  }

  /** A bug of ours costs this attempt, not the switch. */
  #bug(attempt: ConnectAttempt, error: unknown): void {
    log.error("a bug of csvn's: {error}", { error });
    this.#finish(attempt, Errno.EIO);
  }

  #open(attempt: ConnectAttempt, target: Listener | Outside, place: Place): void {
    const { vm, admission } = attempt;
    if (target instanceof Listener) {
      const opened = this.circuits.open(vm, target, admission, place);
      if (!opened) return this.#finish(attempt, Errno.ENOBUFS);
      return this.#succeed(attempt, opened, 0);
    }
    if (target.protocol === "udp") return this.#openDatagram(attempt, target, place);
    const opened = this.circuits.openOutbound(vm, target.actual, admission, place, attempt.options, (errno) => {
      // It has been given up, or given back.
      attempt.circuit = undefined;
      if (errno !== 0) this.#finish(attempt, errno);
      else this.#succeed(attempt, opened!, CONNECT_HOST);
    });
    if (!opened) return this.#finish(attempt, Errno.ENOBUFS);
    attempt.circuit = opened.circuit;
  }

  #openDatagram(attempt: ConnectAttempt, target: Outside, place: Place): void {
    const { vm, admission: { attempt: { source, destination } } } = attempt;
    const opened = this.circuits.openDatagram(
      vm,
      source,
      destination,
      place,
      (errno) => this.#datagramOpened(opened!, errno),
    );
    if (!opened) return this.#finish(attempt, Errno.ENOBUFS);
    this.#unopened.set(opened.circuit, [[attempt, target]]);
    this.circuits.datagrams.of(vm).set(datagramKey(source), opened);
  }

  /** A datagram socket's circuit to the host's stack is there, or cannot be. */
  #datagramOpened(opened: OpenedDatagram, errno: number): void {
    const waiting = this.#unopened.get(opened.circuit)!.filter(([{ state }]) => state === "opening");
    this.#unopened.delete(opened.circuit);
    for (const [attempt, target] of waiting) {
      if (errno !== 0) this.#finish(attempt, errno);
      else this.#permit(attempt, target, opened);
    }
    // The guest is not told of a circuit that nobody waits for any more.
    if (errno === 0 && waiting.length === 0) this.circuits.abandon(opened.circuit);
  }

  /** A datagram socket has its circuit to the host's stack: let it talk to one more address. */
  #permit(attempt: ConnectAttempt, target: Outside, opened: OpenedDatagram): void {
    const waiting = this.#unopened.get(opened.circuit);
    if (waiting) return void waiting.push([attempt, target]);
    opened.flows.set(attempt.admission, attempt.admission.attempt.destination, target.actual);
    this.#succeed(attempt, opened, CONNECT_HOST);
  }

  #succeed(attempt: ConnectAttempt, opened: Opened, flags: number): void {
    const { vm, header, ticket, admission: { attempt: { source } } } = attempt;
    this.#become(attempt, "established");
    vm.device.reply(ticket, encodeConnectResponse(header, opened.id, opened.extents, source, flags));
  }

  /** Answer an attempt that fails. */
  #finish(attempt: ConnectAttempt, errno: number): void {
    if (attempt.state === "established" || attempt.state === "failed") return;
    const { vm, header, admission } = attempt;
    this.#become(attempt, "failed");
    log.debug("{from} -> {destination} failed: {error}", {
      from: vm.name,
      destination: formatEndpoint(admission.attempt.destination),
      error: errnoName(errno),
    });
    if (admission.current.allow) this.gate.recorder.failed(admission, errno);
    vm.device.reply(attempt.ticket, encodeResponse(header, errno));
  }

  /** Go to another state: give back what it held in the one before, and take what it holds in this one. */
  #become(attempt: ConnectAttempt, state: AttemptState): void {
    const { vm, header, target, state: before, circuit } = attempt;
    if (before === "established" || before === "failed") throw new Error(`an attempt that has ${before} is over`);
    attempt.timer?.cancel();
    attempt.timer = undefined;
    attempt.circuit = undefined;
    attempt.state = state;
    if (state === "established" || state === "failed") this.attempts.of(vm).delete(header.token);
    if (state === "waiting" || state === "dropped") {
      attempt.timer = this.clock.after(this.limits.connectMs, () => this.#finish(attempt, Errno.ETIMEDOUT));
    }
    if (circuit && state !== "established") this.circuits.abandon(circuit);
    if (!(target instanceof Listener)) return;
    if (before === "waiting") target.waiting.delete(attempt);
    if (state === "waiting") target.waiting.add(attempt);
    if (state === "opening") target.outstanding++;
    if (before === "opening" && state !== "established") {
      target.outstanding--;
      this.admit(target);
    }
  }
}
