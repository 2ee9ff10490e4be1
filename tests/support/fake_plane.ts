/**
 * Fakes of what the switch operator needs from the data plane, for units: they keep what they are told, and count what is
 * not given back.
 *
 * @module
 */

import type { ArenaEnd } from "../../src/circuit/arena_end.ts";
import type { HeldCircuit } from "../../src/circuit/circuits.ts";
import type { ConnectAttempt } from "../../src/circuit/connect.ts";
import type { OpenedDatagram } from "../../src/circuit/datagram_sockets.ts";
import type { Listeners } from "../../src/circuit/listener.ts";
import { DEFAULT_LIMITS, type Limits } from "../../src/circuit/limits.ts";
import { Operator, type OperatorOptions } from "../../src/circuit/operator.ts";
import type { ArenaMemory, Device, Mapper } from "../../src/circuit/plane.ts";
import { EventType, Layout, RECORD_MAX, RequestType, VERSION } from "../../src/circuit/records.ts";
import { allowAll } from "../../src/circuit/verdict.ts";
import type { Vm } from "../../src/circuit/vm.ts";
import { Errno, SystemError } from "../../src/errno.ts";
import { Network } from "../../src/net/address.ts";
import { Acknowledgements, AllAcknowledgements } from "./acknowledgements.ts";
import { encodeEndpoint } from "./endpoint.ts";
import { FakeClock } from "./fake_clock.ts";
import { FakeHostStack } from "./fake_host.ts";

export { settle } from "./fake_clock.ts";

const PAGE = 4096;

/** An arena's memory that is none. */
export class FakeMemory implements ArenaMemory {
  static #count = 0;
  readonly fd = 1000 + ++FakeMemory.#count;
  readonly identity = `0:${this.fd}`;
  readonly punched: [number, number][] = [];
  /** Told of what is zeroed: somebody may still be at it. */
  zeroed: (offset: number, length: number) => void = () => {};
  stamped = new Uint8Array();
  disposed = 0;

  /** @param janitor Who zeroes it. */
  constructor(readonly length: number, readonly janitor = new Acknowledgements()) {}

  stamp(bytes: Uint8Array): void {
    this.stamped = bytes.slice();
  }

  /** Without memory behind it, as far as one can see: whoever wants it punched says that there is too much of it. */
  async wipe(offset: number, length: number, _keep: number): Promise<number> {
    if (this.disposed) throw new Error("zeroed after its end");
    await this.janitor.give(() => {
      this.zeroed(offset, length);
      this.punched.push([offset, length]);
    });
    return 0;
  }

  pages(): number {
    return 0;
  }

  [Symbol.dispose](): void {
    this.disposed++;
  }
}

/** A record of the device or the driver. */
export interface Record {
  readonly type: number;
  readonly token: bigint;
  readonly view: DataView;
}

function recordOf(bytes: Uint8Array): Record {
  const view = new DataView(bytes.slice().buffer);
  return { type: view.getUint16(0, true), token: view.getBigUint64(8, true), view };
}

/** A device that is none, and the driver behind it. */
export class FakeVm implements Device, Mapper {
  readonly answers = new Map<number, Record>();
  readonly events: Record[] = [];
  readonly routes = new Map<number, [FakeVm, number]>();
  /** Circuits that its driver knows, and has not closed. */
  readonly #known = new Set<number>();
  /** Ids whose routes are being removed: the data plane may still ring them. */
  readonly #leaving = new Map<number, number>();
  /** Window mappings, by offset: their length. */
  readonly maps = new Map<number, number>();
  /** Announcements fail with this. */
  announceErrno = 0;
  mapError: Error | undefined;
  /** Answer events about arenas. */
  answersArenas = true;
  vm!: Vm;
  /** QEMU has not answered for a while. */
  overdue = false;
  #ticket = 0;
  /** Tickets up to this one are not open any more. */
  #stale = 0;
  /** Requests that are not answered, by their type. */
  readonly #open = new Map<number, number>();
  /** From HELLO to the answer to BYE, or the device's reset. */
  #started = false;
  #paused = false;
  #guestPaused = false;
  readonly #requests: (() => void)[] = [];
  readonly #waiting: PromiseWithResolvers<void>[] = [];
  /** What its port acknowledges. */
  readonly port: Acknowledgements;

  constructor(readonly net: FakeNet) {
    this.port = net.acknowledgements.port();
  }

  get name(): string {
    return this.vm.name;
  }

  /** What the operator keeps for it. */
  get holds(): {
    circuits: Map<number, HeldCircuit>;
    attempts: ReadonlyMap<bigint, ConnectAttempt>;
    hostDatagrams: Map<string, OpenedDatagram>;
    flows: number;
    arenas: Map<number, ArenaEnd>;
    listeners: Listeners;
  } {
    const { operator } = this.net;
    const { circuits, arenas, listeners } = operator;
    return {
      circuits: circuits.of(this.vm),
      attempts: operator.attempts(this.vm),
      hostDatagrams: circuits.datagrams.of(this.vm),
      flows: circuits.flowCount(this.vm),
      arenas: arenas.endsOf(this.vm),
      listeners: listeners.of(this.vm),
    };
  }

  reply(ticket: number, response: Uint8Array): void {
    if (this.answers.has(ticket)) throw new Error(`ticket ${ticket} is answered twice`);
    const record = recordOf(response);
    this.answers.set(ticket, record);
    const type = this.#open.get(ticket);
    this.#open.delete(ticket);
    // The data plane ignores those of a device that was stopped.
    if (ticket <= this.#stale || record.view.getUint32(Layout.response.error, true) !== 0) return;
    if (type === RequestType.CONNECT) this.#known.add(record.view.getUint32(Layout.connect_response.circuit, true));
    if (type === RequestType.HELLO) {
      this.#started = true;
      this.#known.clear();
    }
    if (type === RequestType.BYE) this.#started = false;
  }

  announce(event: Uint8Array): void {
    if (this.announceErrno) throw new SystemError("announce an event", this.announceErrno);
    const record = recordOf(event);
    this.events.push(record);
    if (record.type === EventType.INCOMING) this.#known.add(record.view.getUint32(Layout.incoming.circuit, true));
    if (record.type === EventType.RESET && !this.#known.has(record.view.getUint32(16, true))) {
      this.#wrong("RESET of a circuit that its driver was not told of, or has closed");
    }
    const arena = record.view.getUint32(16, true);
    const answer = new Map<number, number>([
      [EventType.ARENA_PREPARE, RequestType.ARENA_PREPARED],
      [EventType.ARENA_MAPPED, RequestType.ARENA_VISIBLE],
      [EventType.ARENA_RETIRE, RequestType.ARENA_RETIRED],
    ]).get(record.type);
    if (!answer || !this.answersArenas) return;
    if (this.#guestPaused) this.#requests.push(() => this.arena(answer, arena));
    else queueMicrotask(() => this.arena(answer, arena));
  }

  addRoute(id: number, peer: Device, peerId: number): void {
    const other = peer as FakeVm;
    if (this.routes.has(id) || other.routes.has(peerId)) throw new SystemError("add a route", Errno.EEXIST);
    if (this.#leaving.has(id)) this.#wrong(`a route of id ${id}, which still leads elsewhere`);
    if (other.#leaving.has(peerId)) this.#wrong(`a route to id ${peerId}, which still leads elsewhere`);
    this.routes.set(id, [other, peerId]);
    other.routes.set(peerId, [this, id]);
  }

  removeRoute(id: number): Promise<void> {
    const [peer, peerId] = this.routes.get(id) ?? [];
    this.routes.delete(id);
    if (peerId !== undefined) peer?.routes.delete(peerId);
    const ends: [FakeVm, number][] = [[this, id]];
    if (peer && peerId !== undefined) ends.push([peer, peerId]);
    for (const [vm, id] of ends) vm.#count(id, 1);
    // Either port may ring until it has removed its own.
    return Promise.all(ends.map(([vm]) => vm.port.give(() => {}))).then(() => {
      for (const [vm, id] of ends) vm.#count(id, -1);
    });
  }

  #count(id: number, by: number): void {
    const left = (this.#leaving.get(id) ?? 0) + by;
    if (left > 0) this.#leaving.set(id, left);
    else this.#leaving.delete(id);
  }

  map(fd: number, offset: number, length: number): Promise<void> {
    return this.#request(`SHMEM_MAP at ${offset}`, offset, length, () => {
      const file = this.net.memories.find((memory) => memory.fd === fd);
      if (!file || length > file.length) this.#wrong(`SHMEM_MAP of ${length} bytes, beyond the end of its file`);
      if (offset + length > this.net.limits.windowBytes) return "past the end of the window";
      for (const [at, bytes] of this.maps) if (offset < at + bytes && at < offset + length) return "an overlap";
      this.maps.set(offset, length);
      return undefined;
    });
  }

  unmap(offset: number, length: number): Promise<void> {
    return this.#request(`SHMEM_UNMAP at ${offset}`, offset, length, () => {
      if (this.maps.get(offset) !== length) return "not what was mapped";
      this.maps.delete(offset);
      return undefined;
    });
  }

  answered(): Promise<void> | undefined {
    return this.#waiting.at(-1)?.promise.catch(() => {});
  }

  /** QEMU, and its guest or not, stand still: requests and events wait, in their order. */
  pause(guest = true): void {
    this.#paused = true;
    this.#guestPaused = guest;
  }

  /** QEMU goes on with the requests that wait. */
  resume(): void {
    this.#paused = this.#guestPaused = false;
    for (const request of this.#requests.splice(0)) request();
  }

  /** The device is reset, as when its guest crashed: QEMU drops all mappings, and tells nobody but by its queues. */
  reset(): void {
    this.#started = false;
    this.#known.clear();
    this.maps.clear();
    this.#stale = this.#ticket;
    if (!this.#paused) this.#requests.length = 0;
    this.net.operator.stopped(this.vm);
  }

  /** The device is started, after it was reset. */
  start(): void {
    this.net.operator.up(this.vm);
  }

  /** Its front-end is gone: what the data plane does with a device. */
  destroy(): void {
    this.#started = false;
    this.maps.clear();
    for (const waiting of this.#waiting.splice(0)) waiting.reject(new Error("the back-end channel was closed"));
    this.#requests.length = 0;
    this.#paused = this.#guestPaused = false;
    this.net.operator.detach(this.vm, "test");
    this.routes.clear();
    // Its port is gone as well: it touches nothing any more.
    this.port.held = false;
    this.port.release();
  }

  /** What QEMU does with a request: it dies of some, and refuses others, which a switch should not make either. */
  #request(what: string, offset: number, length: number, act: () => string | undefined): Promise<void> {
    if (this.vm.state === "gone") this.#wrong(`${what}, after its front-end was gone`);
    const done = Promise.withResolvers<void>();
    this.#waiting.push(done);
    const request = (): void => {
      this.#waiting.shift();
      if (!this.#started) this.#wrong(`${what}, while its device is not started or its driver is not there`);
      if (offset % PAGE !== 0 || length % PAGE !== 0 || length <= 0) this.#wrong(`${what}: not aligned`);
      if (this.mapError) return done.reject(this.mapError);
      const refused = act();
      if (refused === undefined) return done.resolve();
      this.#wrong(`${what}: ${refused}`);
      done.reject(new Error("the front-end refused a mapping"));
    };
    if (this.#paused) this.#requests.push(request);
    else request();
    return done.promise;
  }

  #wrong(what: string): void {
    this.net.wrongs.push(`${this.name}: ${what}`);
  }

  /** Send a record; its ticket. */
  post(type: number, fields: readonly [number, Uint8Array][], size: number, token?: bigint, room = RECORD_MAX): number {
    const ticket = ++this.#ticket;
    this.#open.set(ticket, type);
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    if (size >= 16) {
      view.setUint16(0, type, true);
      view.setUint16(2, VERSION, true);
      view.setUint32(4, size, true);
      view.setBigUint64(8, token ?? BigInt(ticket), true);
    }
    for (const [at, field] of fields) bytes.set(field, at);
    this.net.operator.control(this.vm, ticket, bytes.subarray(0, RECORD_MAX), size, room);
    return ticket;
  }

  /** The errno of an answer; undefined where there is none yet. */
  errno(ticket: number): number | undefined {
    return this.answers.get(ticket)?.view.getUint32(Layout.response.error, true);
  }

  /** Send a record that is answered at once; its errno. */
  ask(type: number, fields: readonly [number, Uint8Array][], size: number): number {
    const errno = this.errno(this.post(type, fields, size));
    if (errno === undefined) throw new Error(`request ${type} was not answered at once`);
    return errno;
  }

  /** HELLO. */
  hello(features = 1n): number {
    return this.ask(RequestType.HELLO, [[16, new Uint8Array(BigUint64Array.of(features).buffer)]], 56);
  }

  /** BYE; its errno, undefined when the answer waits for the window to be emptied. */
  bye(): number | undefined {
    return this.errno(this.post(RequestType.BYE, [], 16));
  }

  /** LISTEN. */
  listen(port: number, listener = port, backlog = 128, address = "0.0.0.0", flags = 0, protocol = 6): number {
    return this.ask(
      RequestType.LISTEN,
      [[16, encodeEndpoint(address, port)], [40, u32s(listener, backlog, flags, protocol)]],
      56,
    );
  }

  /** UNLISTEN. */
  unlisten(listener: number): number {
    return this.ask(RequestType.UNLISTEN, [[16, u32s(listener)]], 24);
  }

  /** CREDIT. */
  credit(listener: number, count: number): number {
    return this.ask(RequestType.CREDIT, [[16, u32s(listener, count)]], 24);
  }

  /** CONNECT; its ticket. */
  connect(
    address: string,
    port: number,
    change: { from?: string; fromPort?: number; protocol?: number; token?: bigint; room?: number } = {},
  ): number {
    const any = address.includes(":") ? "::" : "0.0.0.0";
    return this.post(
      RequestType.CONNECT,
      [
        [16, encodeEndpoint(change.from ?? any, change.fromPort ?? 40_000)],
        [40, encodeEndpoint(address, port)],
        [64, u32s(change.protocol ?? 6)],
      ],
      Layout.connect.size,
      change.token,
      change.room,
    );
  }

  /** The circuit of a CONNECT's answer. */
  circuit(ticket: number): number {
    const answer = this.answers.get(ticket);
    if (!answer || this.errno(ticket) !== 0) throw new Error(`no circuit: ${answer && this.errno(ticket)}`);
    return answer.view.getUint32(Layout.connect_response.circuit, true);
  }

  /** CANCEL of the CONNECT with that token. */
  cancel(token: bigint): number {
    return this.ask(RequestType.CANCEL, [[16, new Uint8Array(BigUint64Array.of(token).buffer)]], 24);
  }

  /** CLOSE. */
  close(circuit: number, flags = 0): number {
    this.#known.delete(circuit);
    return this.ask(RequestType.CLOSE, [[16, u32s(circuit, flags)]], 40);
  }

  /** An answer to an event about an arena. */
  arena(type: number, arena: number, errno = 0): number {
    return this.ask(type, [[16, u32s(arena, errno)]], 24);
  }

  /** Events of a type. */
  of(type: number): Record[] {
    return this.events.filter((event) => event.type === type);
  }

  /** Circuits of INCOMING events. */
  get incoming(): number[] {
    return this.of(EventType.INCOMING).map(({ view }) => view.getUint32(Layout.incoming.circuit, true));
  }

  /** Circuits of RESET events, with their errno. */
  get resets(): [number, number][] {
    return this.of(EventType.RESET).map(({ view }) => [view.getUint32(16, true), view.getUint32(20, true)]);
  }
}

function u32s(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

/** An operator with fakes around it. */
export class FakeNet implements Disposable {
  readonly operator: Operator;
  readonly memories: FakeMemory[] = [];
  readonly limits: Limits;
  readonly clock = new FakeClock();
  /** Of what the switch asks the data plane to let go of. */
  readonly acknowledgements = new AllAcknowledgements();
  /** Zeroes arenas. */
  readonly janitor = this.acknowledgements.port();
  readonly host = new FakeHostStack(
    (what) => void this.wrongs.push(`the host's stack: ${what}`),
    (device) => (device as FakeVm).port,
  );
  /** What the switch did that kills a QEMU, or that it refuses. */
  readonly wrongs: string[] = [];

  constructor(options: Partial<Omit<OperatorOptions, "limits">> & { limits?: Partial<Limits> } = {}) {
    this.limits = { ...DEFAULT_LIMITS, arenaIdleMs: 3_600_000, ...options.limits };
    this.operator = new Operator({
      clock: this.clock,
      network4: Network.parse("10.77.0.0/16"),
      network6: Network.parse("fd77::/64"),
      vms: [],
      verdict: allowAll,
      memory: (length) => {
        const memory = new FakeMemory(length, this.janitor);
        memory.zeroed = (offset, length) => this.host.zeroed(memory, offset, length);
        this.memories.push(memory);
        return memory;
      },
      host: this.host,
      outside: false,
      allowHost: [],
      ownServices: () => undefined,
      publish: [],
      ...options,
      limits: this.limits,
    });
  }

  /** A VM that has not said HELLO. */
  attach(reserved?: string): FakeVm {
    const fake = new FakeVm(this);
    fake.vm = this.operator.attach(fake, fake, reserved);
    return fake;
  }

  /** A VM whose driver is up. */
  boot(reserved?: string): FakeVm {
    const fake = this.attach(reserved);
    if (fake.hello() !== 0) throw new Error("HELLO failed");
    return fake;
  }

  /** @throws {Error} when the switch did what kills a QEMU, or what it refuses. */
  [Symbol.dispose](): void {
    this.operator[Symbol.dispose]();
    if (this.wrongs.length > 0) throw new Error(`QEMU would not have it: ${this.wrongs.join("; ")}`);
  }
}
