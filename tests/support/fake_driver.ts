/**
 * A fake guest driver on a fake front-end: it says HELLO, listens, connects, and uses its circuits' memory, all without
 * QEMU.
 *
 * @module
 */

import type { Endpoint } from "../../src/net/address.ts";
import { addressOf } from "../../src/net/address.ts";
import { ARENA_MAGIC, EventType, Layout, RECORD_MAX, RequestType, VERSION } from "../../src/circuit/records.ts";
import { encodeEndpoint } from "./endpoint.ts";
import { FakeCircuit } from "./fake_circuit.ts";
import { FakeFrontEnd, FEATURES, u64s } from "./fake_front_end.ts";
import { FakeVirtqueue, queueBytes } from "./fake_virtqueue.ts";
import { bytesAt } from "./native.ts";
import { until } from "./until.ts";

const [NAME, IPV4, IPV6] = [Layout.identity.name, Layout.identity.ipv4, Layout.identity.ipv6].map((at) =>
  Layout.config.identity + at
) as [number, number, number];
const QUEUE_SIZE = 256;
const BUFFERS = 1 << 20; // where buffers lie in guest memory
const SLOT = 2 * RECORD_MAX; // bytes of a buffer: for the request, and for the response or the event

/** A response or event, with its bytes. */
export interface Received {
  readonly type: number;
  readonly token: bigint;
  readonly view: DataView;
}

/** What a LISTEN, a CONNECT or another request is answered with. */
export interface Answer extends Received {
  /** 0, or a Linux errno. */
  readonly error: number;
}

/** An arena as the driver knows it. */
interface KnownArena {
  readonly offset: number;
  readonly length: number;
  readonly nonce: bigint;
}

/** An incoming connection. */
export interface Incoming {
  readonly listener: number;
  readonly circuit: FakeCircuit;
  readonly remote: Endpoint;
  readonly local: Endpoint;
}

function decodeEndpoint(view: DataView, at: number): Endpoint {
  const family = view.getUint16(at, true);
  const ip = new Uint8Array(view.buffer, view.byteOffset + at + 8, family === 4 ? 4 : 16);
  return { address: addressOf(ip.slice()), port: view.getUint16(at + 2, true) };
}

export { encodeEndpoint };

/** A fake guest. */
export class FakeDriver implements AsyncDisposable {
  readonly queues: FakeVirtqueue[] = [];
  readonly events: Received[] = [];
  readonly incoming: Incoming[] = [];
  /** Circuits that were reset by the switch, with the errno. */
  readonly resets = new Map<number, number>();
  readonly arenas = new Map<number, KnownArena>();
  /** Ids that the device woke, in order. */
  readonly wakes: number[] = [];
  /** Answer events about arenas by itself. */
  answersArenas = true;
  name = "";
  address = "";
  address6 = "";
  #token = 1n;
  #port = 40_000;
  #freeSlots: number[] = [];
  readonly #slots = new Map<string, number>();
  readonly #answers = new Map<bigint, Answer>();
  /** BYE's, until it is answered. */
  #bye: bigint | undefined;
  /** Arenas that the window does not show yet. */
  readonly #unseen = new Map<number, KnownArena>();
  #running = false;
  #loop: Promise<void> | undefined;

  constructor(readonly frontEnd: FakeFrontEnd) {}

  /** Connect a front-end, start its device, say HELLO. */
  static async boot(path: string): Promise<FakeDriver> {
    const frontEnd = new FakeFrontEnd(path);
    await frontEnd.realize();
    const driver = new FakeDriver(frontEnd);
    await driver.start();
    const answer = await driver.hello();
    if (answer.error !== 0) throw new Error(`HELLO failed with ${answer.error}`);
    return driver;
  }

  /** What happens at DRIVER_OK; HELLO is not said. */
  async start(): Promise<void> {
    const config = await this.frontEnd.config();
    this.name = new TextDecoder().decode(config.subarray(NAME)).replace(/\0.*$/s, "");
    this.address = addressOf(config.slice(IPV4, IPV4 + 4)).text;
    this.address6 = addressOf(config.slice(IPV6, IPV6 + 16)).text;
    bytesAt(this.frontEnd.memory, 0, this.frontEnd.memory.length).fill(0);
    this.queues.length = 0;
    this.#slots.clear();
    this.arenas.clear();
    this.#unseen.clear();
    this.frontEnd.send(2, u64s(FEATURES));
    await this.frontEnd.setMemory();
    for (let i = 0; i < 4; i++) {
      const base = i * 64 * 1024;
      if (queueBytes(QUEUE_SIZE) > 64 * 1024) throw new Error("queue is too large");
      const queue = new FakeVirtqueue(this.frontEnd.memory, base, QUEUE_SIZE, this.frontEnd.kicks[i]!);
      this.queues.push(queue);
      await this.frontEnd.setQueue(i, { size: QUEUE_SIZE, ...pick(queue) });
    }
    this.#freeSlots = Array.from({ length: 4096 }, (_, i) => BUFFERS + SLOT * i);
    for (let i = 0; i < 64; i++) this.#postEvent();
    for (let i = 0; i < 64; i++) this.#postWake();
    await this.frontEnd.enable(true);
    this.#running = true;
    this.#loop = this.#run();
  }

  /** Look at the queues no more. */
  async suspend(): Promise<void> {
    this.#running = false;
    await this.#loop;
  }

  /** Look at the queues again. */
  resume(): void {
    this.#running = true;
    this.#loop = this.#run();
  }

  /** Stop the device, as a reset does. */
  async stop(): Promise<void> {
    await this.suspend();
    await this.frontEnd.stop();
  }

  /** As if QEMU was killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.suspend();
    await this.frontEnd[Symbol.asyncDispose]();
  }

  /** Say HELLO. */
  hello(features = 7n): Promise<Answer> {
    this.frontEnd.driverIsUp = true;
    return this.request(RequestType.HELLO, [[16, u64s(features)], [24, new TextEncoder().encode("fake 1.0")]], 56);
  }

  /** Say goodbye. */
  bye(): Promise<Answer> {
    this.#bye = this.post(RequestType.BYE, [], 16);
    return this.answer(this.#bye);
  }

  /** Send bytes on the control queue as they are, with room for a response; its token. */
  submit(bytes: Uint8Array, room = RECORD_MAX): void {
    const slot = this.#freeSlots.pop()!;
    bytesAt(this.frontEnd.memory, slot, Math.max(1, bytes.length)).set(bytes);
    const head = this.queues[0]!.add([
      ...(bytes.length > 0 ? [{ guest: slot, bytes: bytes.length }] : []),
      ...(room > 0 ? [{ guest: slot + RECORD_MAX, bytes: room, write: true }] : []),
    ]);
    this.#slots.set(`0:${head}`, slot);
    this.queues[0]!.kick();
  }

  /** Send a request of fields at offsets and wait for its answer. */
  async request(type: number, fields: [number, Uint8Array][], size: number): Promise<Answer> {
    const token = this.post(type, fields, size);
    return await this.answer(token);
  }

  /** Send a request; its token. */
  post(type: number, fields: [number, Uint8Array][], size: number): bigint {
    const token = this.#token++;
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, type, true);
    view.setUint16(2, VERSION, true);
    view.setUint32(4, size, true);
    view.setBigUint64(8, token, true);
    for (const [at, field] of fields) bytes.set(field, at);
    this.submit(bytes);
    return token;
  }

  /** Wait for the answer to a request. */
  async answer(token: bigint, ms?: number): Promise<Answer> {
    const answer = await until(`answer to request ${token}`, () => this.#answers.get(token), ms);
    this.#answers.delete(token);
    return answer;
  }

  /** Has a request been answered? */
  answered(token: bigint): boolean {
    return this.#answers.has(token);
  }

  /** Listen on a port of any address. */
  listen(port: number, listener = port, backlog = 128, address = "0.0.0.0", flags = 0, protocol = 6): Promise<Answer> {
    return this.request(RequestType.LISTEN, [
      [16, encodeEndpoint(address, port)],
      [40, new Uint8Array(Uint32Array.of(listener, backlog, flags, protocol).buffer)],
    ], 56);
  }

  /** Stop listening. */
  unlisten(listener: number): Promise<Answer> {
    return this.request(RequestType.UNLISTEN, [[16, new Uint8Array(Uint32Array.of(listener).buffer)]], 24);
  }

  /** Tell that connections were accepted. */
  credit(listener: number, count: number): Promise<Answer> {
    return this.request(RequestType.CREDIT, [[16, new Uint8Array(Uint32Array.of(listener, count).buffer)]], 24);
  }

  /** Send a CONNECT; its token. */
  postConnect(
    address: string,
    port: number,
    from?: {
      address?: string;
      port?: number;
      protocol?: number;
      /** A `csvn_options`. */
      options?: Uint8Array | undefined;
    },
  ): bigint {
    const any = address.includes(":") ? "::" : "0.0.0.0";
    return this.post(RequestType.CONNECT, [
      [16, encodeEndpoint(from?.address ?? any, from?.port ?? this.#port++)],
      [40, encodeEndpoint(address, port)],
      [64, new Uint8Array(Uint32Array.of(from?.protocol ?? 6).buffer)],
      ...(from?.options ? [[Layout.connect.options, from.options] satisfies [number, Uint8Array]] : []),
    ], Layout.connect.size);
  }

  /** Connect: the circuit, or an errno. */
  async connect(address: string, port: number): Promise<FakeCircuit | number> {
    return this.circuitOf(await this.answer(this.postConnect(address, port)));
  }

  /** The circuit of a CONNECT's answer, or its errno. */
  circuitOf(answer: Answer): FakeCircuit | number {
    if (answer.error !== 0) return answer.error;
    return this.#circuit(answer.view.getUint32(Layout.connect_response.circuit, true), answer.view, 32);
  }

  /** Connect where it must work. */
  async mustConnect(address: string, port: number): Promise<FakeCircuit> {
    const circuit = await this.connect(address, port);
    if (typeof circuit === "number") throw new Error(`connect to ${address}:${port} failed with errno ${circuit}`);
    return circuit;
  }

  /** Take an incoming connection, and credit it. */
  async accept(): Promise<Incoming> {
    const incoming = await until("an incoming connection", () => this.incoming.shift());
    await this.credit(incoming.listener, 1);
    return incoming;
  }

  /** Tell of a circuit's options; the errno it is answered with. */
  async setOptions(circuit: number, options: Uint8Array): Promise<number> {
    const answer = await this.request(RequestType.OPTIONS, [
      [Layout.set_options.circuit, new Uint8Array(Uint32Array.of(circuit).buffer)],
      [Layout.set_options.options, options],
    ], Layout.set_options.size);
    return answer.error;
  }

  /** Send CANCEL for a CONNECT. */
  cancel(token: bigint): Promise<Answer> {
    return this.request(RequestType.CANCEL, [[16, u64s(token)]], 24);
  }

  /** Ring a doorbell. */
  ring(...ids: number[]): void {
    const slot = this.#freeSlots.pop()!;
    bytesAt(this.frontEnd.memory, slot, 4 * ids.length).set(new Uint8Array(Uint32Array.from(ids).buffer));
    const head = this.queues[2]!.add([{ guest: slot, bytes: 4 * ids.length }]);
    this.#slots.set(`2:${head}`, slot);
    this.queues[2]!.kick();
  }

  /** Answer an event about an arena. */
  answerArena(type: number, arena: number, error = 0): bigint {
    return this.post(type, [[16, new Uint8Array(Uint32Array.of(arena, error).buffer)]], 24);
  }

  #postEvent(): void {
    const slot = this.#freeSlots.pop()!;
    const head = this.queues[1]!.add([{ guest: slot, bytes: RECORD_MAX, write: true }]);
    this.#slots.set(`1:${head}`, slot);
  }

  #postWake(): void {
    const slot = this.#freeSlots.pop()!;
    const head = this.queues[3]!.add([{ guest: slot, bytes: 64, write: true }]);
    this.#slots.set(`3:${head}`, slot);
  }

  async #run(): Promise<void> {
    while (this.#running) {
      this.#poll();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** QEMU's answer to a mapping comes before the mapping. */
  #look(): void {
    for (const [id, arena] of this.#unseen) {
      const view = bytesAt(this.frontEnd.window, arena.offset, 16);
      const seen = new DataView(view.buffer, view.byteOffset, 16);
      if (seen.getBigUint64(0, true) !== ARENA_MAGIC || seen.getBigUint64(8, true) !== arena.nonce) continue;
      this.#unseen.delete(id);
      if (this.answersArenas) this.answerArena(RequestType.ARENA_VISIBLE, id);
    }
  }

  #poll(): void {
    this.#look();
    for (const [i, queue] of this.queues.entries()) {
      for (const { head, written } of queue.take()) {
        const slot = this.#slots.get(`${i}:${head}`)!;
        const at = i === 0 ? slot + RECORD_MAX : slot;
        const bytes = bytesAt(this.frontEnd.memory, at, RECORD_MAX).slice(0, written);
        this.#freeSlots.push(slot);
        if (i === 0) this.#response(bytes);
        if (i === 1) this.#event(bytes);
        if (i === 3) this.wakes.push(...new Uint32Array(bytes.buffer));
        if (i === 1) this.#postEvent();
        if (i === 3) this.#postWake();
      }
      if (i === 1 || i === 3) queue.kick();
    }
  }

  #response(bytes: Uint8Array<ArrayBuffer>): void {
    const view = new DataView(bytes.buffer);
    const token = view.getBigUint64(8, true);
    if (token === this.#bye && view.getUint32(16, true) === 0) this.frontEnd.driverIsUp = false;
    this.#answers.set(token, { type: view.getUint16(0, true), token, view, error: view.getUint32(16, true) });
  }

  #event(bytes: Uint8Array<ArrayBuffer>): void {
    const view = new DataView(bytes.buffer);
    const event = { type: view.getUint16(0, true), token: view.getBigUint64(8, true), view };
    this.events.push(event);
    const id = view.getUint32(16, true);
    switch (event.type) {
      case EventType.INCOMING:
        this.incoming.push({
          listener: id,
          circuit: this.#circuit(view.getUint32(20, true), view, Layout.incoming.extents),
          remote: decodeEndpoint(view, Layout.incoming.remote),
          local: decodeEndpoint(view, Layout.incoming.local),
        });
        return;
      case EventType.RESET:
        this.resets.set(id, view.getUint32(20, true));
        return;
      case EventType.ARENA_PREPARE:
        if (this.answersArenas) this.answerArena(RequestType.ARENA_PREPARED, id);
        return;
      case EventType.ARENA_MAPPED:
        this.arenas.set(id, {
          offset: Number(view.getBigUint64(24, true)),
          length: Number(view.getBigUint64(32, true)),
          nonce: view.getBigUint64(Layout.arena_event.nonce, true),
        });
        this.#unseen.set(id, this.arenas.get(id)!);
        return;
      case EventType.ARENA_RETIRE:
        this.arenas.delete(id);
        this.#unseen.delete(id);
        if (this.answersArenas) this.answerArena(RequestType.ARENA_RETIRED, id);
        return;
    }
  }

  #circuit(id: number, view: DataView, at: number): FakeCircuit {
    const arena = this.arenas.get(view.getUint32(at, true));
    if (!arena) throw new Error("circuit in an arena that is not there");
    const field = (name: keyof typeof Layout.extents): number =>
      arena.offset + Number(view.getBigUint64(at + Layout.extents[name], true));
    return new FakeCircuit(this, id, view.getUint32(at + 4, true), {
      own: field("own_control"),
      peer: field("peer_control"),
      tx: field("tx_ring"),
      rx: field("rx_ring"),
    });
  }
}

function pick({ desc, avail, used }: FakeVirtqueue): { desc: number; avail: number; used: number } {
  return { desc, avail, used };
}
