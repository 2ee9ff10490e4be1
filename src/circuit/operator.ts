/**
 * The switch operator: VMs come and go, their drivers' requests are decided here.
 *
 * Theory of operation. Everything happens in the order in which the data plane's events come in, in one JavaScript thread; a
 * request is decided at once, but for CONNECTs that wait for a backlog or an arena. The operator believes what a VM
 * says only about itself. A VM is who its socket says it is.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { type Clock, systemClock } from "../clock.ts";
import { Errno } from "../errno.ts";
import { type Endpoint, isUnspecified } from "../net/address.ts";
import { Gatekeeper } from "./gatekeeper.ts";
import { Arenas } from "./arenas.ts";
import { background } from "./background.ts";
import { Circuits } from "./circuits.ts";
import { type ConnectAttempt, Connector } from "./connect.ts";
import { Destinations, type OwnServices } from "./destinations.ts";
import { Directory, type Reservation } from "./directory.ts";
import { Forbidden } from "./forbidden.ts";
import type { HostStack } from "./host.ts";
import type { Limits } from "./limits.ts";
import { Listener, Listeners } from "./listener.ts";
import { PerVm } from "./per_vm.ts";
import type { ArenaMemoryFactory, Device, Mapper } from "./plane.ts";
import {
  type ControlRequest,
  decodeHeader,
  decodeRequest,
  encodeConfig,
  encodeHelloResponse,
  encodeResponse,
  FEATURES,
  type Header,
  Layout,
  PROTOCOL_DATAGRAM,
  PROTOCOL_STREAM,
  Queue,
  RecordError,
} from "./records.ts";
import { InboundConnections } from "./inbound.ts";
import { type Notice, Notices } from "./notices.ts";
import { type Publication, type PublicationStatus, Publisher } from "./publish.ts";
import { guarded, noRecorder, type Recorder } from "./recorder.ts";
import { type ForbiddenCircuit, forbiddenCircuits, reviseCircuits, type RevisionCount } from "./revision.ts";
import { Signals } from "./signals.ts";
import type { VerdictFunction } from "./verdict.ts";
import { Vm } from "./vm.ts";
import type { Network } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";

const log = getLogger(["csvn", "operator"]);

/** What an operator is made of. */
export interface OperatorOptions {
  /** Default: the system's time. */
  readonly clock?: Clock;
  readonly limits: Limits;
  readonly network4: Network;
  readonly network6: Network;
  readonly vms: readonly Reservation[];
  readonly verdict: VerdictFunction;
  /** Told about connections; default: nobody. */
  readonly recorder?: Recorder | undefined;
  readonly memory: ArenaMemoryFactory;
  readonly host: HostStack;
  /** May VMs reach what is no VM, by the host's stack? */
  readonly outside: boolean;
  /** Ports of the host that VMs reach at the switch's address. */
  readonly allowHost: readonly Endpoint[];
  /** What VMs must not reach by the host's stack, beyond what nobody must. */
  readonly forbid?: readonly Cidr[] | undefined;
  /** What the switch itself offers at its address, such as the name service. */
  readonly ownServices: OwnServices;
  /** Ports of the host's network that lead to VMs. */
  readonly publish: readonly Publication[];
}

const queueNames = new Map<number, string>(Object.entries(Queue).map(([name, n]) => [n, name.toLowerCase()]));

/** The switch operator. */
export class Operator implements Disposable {
  readonly directory: Directory;
  readonly arenas: Arenas;
  readonly circuits: Circuits;
  readonly listeners = new PerVm(() => new Listeners());
  readonly #gate: Gatekeeper;
  readonly #connector: Connector;
  readonly #inbound: InboundConnections;
  readonly #publisher: Publisher;
  readonly #limits: Limits;
  readonly #clock: Clock;
  readonly #notices: Notices;
  readonly #wrongRecords: Notice;
  readonly #starts: Notice;
  readonly #faults: Notice;

  /** @throws {DirectoryError} */
  constructor(options: OperatorOptions) {
    const signals = new Signals((vm, reason) => this.fault(vm, reason));
    const clock = this.#clock = options.clock ?? systemClock;
    this.#limits = options.limits;
    const notices = this.#notices = new Notices(options.limits, clock);
    this.#wrongRecords = notices.of("wrong control records", log, "warn");
    this.#starts = notices.of("starts of the driver", log, "info");
    this.#faults = notices.of("faults", log, "error");
    this.directory = new Directory(options.network4, options.network6, options.vms);
    this.arenas = new Arenas({ ...options, signals, clock, notices });
    const recorder = guarded(options.recorder ?? noRecorder);
    this.#gate = new Gatekeeper(options.verdict, options.limits, recorder, clock);
    this.circuits = new Circuits(this.arenas, signals, recorder, clock, notices);
    const destinations = new Destinations(
      this.directory,
      options.outside,
      options.allowHost,
      options.ownServices,
      new Forbidden(options.forbid),
    );
    this.#connector = new Connector(
      destinations,
      this.listeners,
      this.arenas,
      this.circuits,
      options.limits,
      this.#gate,
      clock,
      notices,
    );
    const parts = {
      host: options.host,
      arenas: this.arenas,
      circuits: this.circuits,
      gate: this.#gate,
      limits: options.limits,
      clock,
      notices,
    };
    this.#inbound = new InboundConnections({ ...parts, admit: (listener) => this.#connector.admit(listener) });
    this.#publisher = new Publisher(options.publish, { ...parts, listeners: this.listeners, inbound: this.#inbound });
  }

  /** Attempts of a VM that are not decided, by the token of their CONNECT. */
  attempts(vm: Vm): ReadonlyMap<bigint, ConnectAttempt> {
    return this.#connector.attempts.of(vm);
  }

  /** What has become of the published ports. */
  get publications(): PublicationStatus[] {
    return this.#publisher.status;
  }

  /**
   * A VM's front-end has come.
   *
   * @param reserved The configured VM whose socket it came in on; undefined: the next free name.
   * @throws {DirectoryError}
   */
  attach(device: Device, mapper: Mapper, reserved?: string): Vm {
    const vm = new Vm(this.directory.identify(reserved), device, mapper, this.#limits);
    this.directory.add(vm);
    log.info("{vm} attached: {ipv4}, {ipv6}", {
      vm: vm.name,
      ipv4: vm.identity.ipv4.text,
      ipv6: vm.identity.ipv6.text,
    });
    return vm;
  }

  /** A VM's front-end is gone. */
  detach(vm: Vm, why: string): void {
    this.#end(vm, why);
    vm.become("gone", why);
    this.directory.remove(vm);
    log.info("{vm} detached: {why}", { vm: vm.name, why });
  }

  /** A VM's device stopped, and QEMU has dropped what was mapped: all that the VM held is over. */
  stopped(vm: Vm): void {
    this.#end(vm, "its device stopped");
  }

  /** All that a VM held is over, while its device runs on: what is mapped is taken out of its window. */
  down(vm: Vm, why: string): void {
    this.arenas.clearWindow(vm);
    this.#end(vm, why);
  }

  /** A VM's device started. A fault that was told while it stopped is the past one's. */
  up(vm: Vm): void {
    if (vm.state === "faulted") vm.become("attached", "its device started anew");
  }

  /** A VM's driver broke a rule of its device. It is ignored until its device starts anew. */
  fault(vm: Vm, reason: string): void {
    if (vm.state === "faulted" || vm.state === "gone") return;
    const names = { vm: vm.name, reason };
    this.#faults.tell(vm.name, "{vm} broke its device: {reason}; it is ignored until the device is reset", names);
    this.down(vm, reason);
    vm.become("faulted", reason);
  }

  /** A queue of a VM is broken. */
  queueFault(vm: Vm, queue: number, reason: string): void {
    this.fault(vm, `${queueNames.get(queue) ?? queue} queue: ${reason}`);
  }

  /** The configuration space of a VM. */
  config(vm: Vm): Uint8Array {
    return encodeConfig(vm.identity);
  }

  /** A control request came in; see {@linkcode DeviceHandler.control}. */
  control(vm: Vm, ticket: number, bytes: Uint8Array, size: number, room: number): void {
    const header = decodeHeader(bytes);
    const answer = (errno: number): void => vm.device.reply(ticket, encodeResponse(header, errno));
    let request: ControlRequest;
    try {
      request = decodeRequest(bytes, size, header);
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      const names = { vm: vm.name, reason: error.message };
      this.#wrongRecords.tell(vm.name, "{vm}: wrong control record: {reason}", names);
      return answer(Errno[error.errno]);
    }
    if (vm.state !== "ready" && (request.type !== "HELLO" || vm.state !== "attached")) return answer(Errno.EPROTO);
    const need = request.type === "CONNECT" ? Layout.connect_response.size : Layout.hello_response.size;
    if ((request.type === "CONNECT" || request.type === "HELLO") && room < need) return answer(Errno.EMSGSIZE);
    switch (request.type) {
      case "HELLO":
        return this.#hello(vm, header, ticket, request);
      case "CONNECT":
        return this.#connector.connect(vm, header, ticket, request);
      case "BYE":
        return this.#bye(vm, () => answer(0));
      default:
        return answer(this.#simple(vm, request));
    }
  }

  /**
   * Policy has changed: ask again about all connections, and end those that are not allowed any more. Those that are notice nothing.
   */
  revise(): RevisionCount {
    const began = this.#clock.now();
    // In this order: what became of an attempt that was let in meanwhile is a circuit.
    const counts = [
      this.#connector.revise(this.directory.vms),
      this.#inbound.revise(),
      reviseCircuits(this.circuits, this.#gate),
    ];
    const total = counts.reduce((a, b) => ({ checked: a.checked + b.checked, cut: a.cut + b.cut }));
    log.info("policy changed: {checked} connections checked, {cut} cut, in {milliseconds} ms", {
      ...total,
      milliseconds: Math.round(this.#clock.now() - began),
    });
    return total;
  }

  /** The live connections that a verdict function would cut. Nothing is changed. */
  forbidden(verdict: VerdictFunction): ForbiddenCircuit[] {
    return forbiddenCircuits(
      this.circuits,
      (admission) => this.#gate.judge(admission.attempt, admission.verdict, verdict),
    );
  }

  [Symbol.dispose](): void {
    for (const vm of [...this.directory.vms]) this.detach(vm, "the switch stops");
    this.#publisher[Symbol.dispose]();
    this.#inbound[Symbol.dispose]();
    this.circuits[Symbol.dispose]();
    this.#gate[Symbol.dispose]();
    this.arenas[Symbol.dispose]();
    this.#notices[Symbol.dispose]();
  }

  /** Whose mappings are gone, or about to go. */
  #end(vm: Vm, why: string): void {
    if (vm.state !== "gone") vm.become("attached", why);
    this.#connector.vmDown(vm);
    this.listeners.of(vm).clear();
    this.#publisher.update(vm);
    this.circuits.vmDown(vm);
    this.arenas.vmDown(vm);
  }

  #hello(vm: Vm, header: Header, ticket: number, request: Extract<ControlRequest, { type: "HELLO" }>): void {
    this.down(vm, "a new driver came up");
    vm.begin();
    vm.become("ready", `driver ${request.driver}`);
    this.#starts.tell(vm.name, "{vm} is up, driver {driver}", { vm: vm.name, driver: request.driver });
    vm.device.reply(
      ticket,
      encodeHelloResponse(
        header,
        {
          features: request.features & FEATURES,
          ringSize: this.#limits.ringBytes,
          maxCircuits: this.#limits.maxCircuits,
          maxListeners: this.#limits.maxListeners,
        },
        vm.identity,
      ),
    );
  }

  #bye(vm: Vm, answer: () => void): void {
    const emptied = this.arenas.leaveWindow(vm);
    if (!emptied) answer();
    this.#end(vm, "the driver said goodbye");
    if (!emptied) return;
    vm.become("leaving", "its window is being emptied");
    const { incarnation } = vm;
    background(emptied.then(() => {
      if (vm.state === "leaving" && vm.incarnation === incarnation) vm.become("attached", "its window is empty");
      answer();
    }));
  }

  /** A request that is answered at once, by an errno or 0. */
  #simple(vm: Vm, request: Exclude<ControlRequest, { type: "HELLO" | "CONNECT" | "BYE" }>): number {
    switch (request.type) {
      case "LISTEN":
        return this.#listen(vm, request);
      case "UNLISTEN": {
        const listener = this.listeners.of(vm).get(request.listener);
        if (!listener) return Errno.ENOENT;
        this.listeners.of(vm).delete(request.listener);
        this.#connector.listenerGone(listener);
        this.#publisher.update(vm);
        return 0;
      }
      case "CREDIT": {
        const listener = this.listeners.of(vm).get(request.listener);
        if (!listener) return Errno.ENOENT;
        if (request.count > listener.outstanding) return Errno.EINVAL;
        listener.outstanding -= request.count;
        this.#connector.admit(listener);
        return 0;
      }
      case "PING":
        return 0;
      case "OPTIONS":
        return this.circuits.setOptions(vm, request.circuit, request.options) ? 0 : Errno.ENOENT;
      case "CANCEL":
        return this.#connector.cancel(vm, request.connect) ? 0 : Errno.ENOENT;
      case "CLOSE":
        return this.circuits.closed(vm, request) ? 0 : Errno.ENOENT;
      case "ARENA_PREPARED":
        return this.arenas.answer(vm, request.arena, "ARENA_PREPARE", request.error) ? 0 : Errno.ENOENT;
      case "ARENA_VISIBLE":
        return this.arenas.answer(vm, request.arena, "ARENA_MAPPED", request.error) ? 0 : Errno.ENOENT;
      case "ARENA_RETIRED":
        return this.arenas.answer(vm, request.arena, "ARENA_RETIRE", request.error) ? 0 : Errno.ENOENT;
    }
  }

  #listen(vm: Vm, request: Extract<ControlRequest, { type: "LISTEN" }>): number {
    const backlog = Math.min(request.backlog, this.#limits.maxBacklog);
    const known = this.listeners.of(vm).get(request.listener);
    if (known) {
      known.backlog = backlog;
      this.#connector.admit(known);
      return 0;
    }
    if (request.protocol !== PROTOCOL_STREAM && request.protocol !== PROTOCOL_DATAGRAM) return Errno.EOPNOTSUPP;
    if (!this.#isOwn(vm, request.local)) return Errno.EADDRNOTAVAIL;
    if (request.local.port === 0) return Errno.EINVAL;
    if (this.listeners.of(vm).size >= this.#limits.maxListeners) return Errno.ENOBUFS;
    const protocol = request.protocol === PROTOCOL_STREAM ? "tcp" : "udp";
    this.listeners.of(vm).add(
      new Listener(vm, request.listener, request.local, backlog, request.v6only, protocol),
    );
    this.#publisher.update(vm);
    return 0;
  }

  #isOwn(vm: Vm, { address }: Endpoint): boolean {
    return isUnspecified(address) || address.text === vm.identity.ipv4.text || address.text === vm.identity.ipv6.text;
  }
}
