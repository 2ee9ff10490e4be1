/**
 * A front-end's session: the message table, and what each message does.
 *
 * Theory of operation. Each message goes through three steps that stay apart: syntax (the table's payload size and
 * descriptor count), negotiated state (the table's required feature; that a queue index exists), then the act. Anything
 * wrong ends the session with one ProtocolError, whose text names what was wrong: a front-end is either right or not to be
 * trusted. Every descriptor that an act does not keep is closed on every path.
 *
 * Messages are handled one after the other: an act may wait for the data plane, which acknowledges what it has done. The front-end's main loop
 * stands still until it has its reply, so nothing else is waited for.
 *
 * @module
 */

import { type Clock, systemClock } from "../clock.ts";
import { SystemError } from "../errno.ts";
import { BackendChannel } from "./backend_channel.ts";
import {
  decodeU64,
  encodeMessage,
  encodeU64,
  Feature,
  FEATURES,
  Flag,
  MEMORY_REGIONS,
  PROTOCOL_FEATURES,
  ProtocolError,
  ProtocolFeature,
  Request,
  SHMEM_REGIONS,
  viewOf,
} from "./protocol.ts";
import type { Descriptor, FrontEnd, Queues, Region } from "./transport.ts";
import { Vring } from "./vring.ts";

/** What a session serves: the device behind it. */
export interface SessionDevice {
  readonly queues: Queues;
  readonly queueCount: number;
  /** Bytes of the shared-memory window; a power of two. */
  readonly windowBytes: bigint;
  /** The configuration space. */
  config(): Uint8Array;
  /** Is this file (by identity) an arena of ours, which comes back in the memory table once it is mapped? */
  isArena(identity: string): boolean;
  /** All queues run: the driver is there. */
  started(): void;
  /** Not all queues run any more. */
  stopped(): void;
}

/** The parts of a message that an act needs. */
interface Incoming {
  readonly payload: Uint8Array;
  readonly descriptors: Descriptor[];
}

interface Row {
  readonly name: string;
  /** Exact payload size in bytes, or a range. */
  readonly size: number | readonly [number, number];
  /** Exact number of descriptors, or a range. */
  readonly descriptors: number | readonly [number, number];
  /** Protocol feature without which the message may not come. */
  readonly needs?: bigint;
  /** Does it; what is returned is the reply's payload, undefined where there is none but an asked-for acknowledgement. */
  readonly act: (session: Session, message: Incoming) => Uint8Array | void | Promise<Uint8Array | void>;
}

// The messages with a vring's descriptor have a u64: the index in its low byte, and a flag where there is no descriptor.
const DESCRIPTOR_INDEX = 0xff;
const NO_DESCRIPTOR = 0x100n;

/** Messages of a front-end that may wait; QEMU sends at most a few for each queue before it waits for a reply. */
const MESSAGES_MAX = 1024;

const table = new Map<number, Row>([
  [Request.GET_FEATURES, { name: "GET_FEATURES", size: 0, descriptors: 0, act: () => encodeU64(FEATURES) }],
  [Request.SET_FEATURES, { name: "SET_FEATURES", size: 8, descriptors: 0, act: (s, m) => s.setFeatures(m) }],
  [Request.SET_OWNER, { name: "SET_OWNER", size: 0, descriptors: 0, act: () => {} }],
  [Request.RESET_OWNER, { name: "RESET_OWNER", size: 0, descriptors: 0, act: (s) => s.stop() }],
  [Request.SET_MEM_TABLE, {
    name: "SET_MEM_TABLE",
    size: [8, 8 + 32 * MEMORY_REGIONS],
    descriptors: [0, MEMORY_REGIONS],
    act: (s, m) => s.setMemory(m),
  }],
  [Request.SET_VRING_NUM, {
    name: "SET_VRING_NUM",
    size: 8,
    descriptors: 0,
    act: (s, m) => s.vring(m).setSize(viewOf(m.payload).getUint32(4, true)),
  }],
  [Request.SET_VRING_ADDR, {
    name: "SET_VRING_ADDR",
    size: 40,
    descriptors: 0,
    act: (s, m) => s.vring(m).setAddresses(m.payload),
  }],
  [Request.SET_VRING_BASE, {
    name: "SET_VRING_BASE",
    size: 8,
    descriptors: 0,
    act: (s, m) => s.vring(m).setBase(viewOf(m.payload).getUint32(4, true)),
  }],
  [Request.GET_VRING_BASE, { name: "GET_VRING_BASE", size: 8, descriptors: 0, act: (s, m) => s.getBase(m) }],
  [Request.SET_VRING_KICK, {
    name: "SET_VRING_KICK",
    size: 8,
    descriptors: [0, 1],
    act: (s, m) => s.setKick(m),
  }],
  [Request.SET_VRING_CALL, {
    name: "SET_VRING_CALL",
    size: 8,
    descriptors: [0, 1],
    act: (s, m) => {
      const vring = s.vring(m, DESCRIPTOR_INDEX);
      return vring.setCall(s.vringDescriptor(m));
    },
  }],
  [Request.SET_VRING_ERR, {
    name: "SET_VRING_ERR",
    size: 8,
    descriptors: [0, 1],
    act: (s, m) => {
      const vring = s.vring(m, DESCRIPTOR_INDEX);
      vring.setError(s.vringDescriptor(m));
    },
  }],
  [Request.GET_PROTOCOL_FEATURES, {
    name: "GET_PROTOCOL_FEATURES",
    size: 0,
    descriptors: 0,
    act: () => encodeU64(PROTOCOL_FEATURES),
  }],
  [Request.SET_PROTOCOL_FEATURES, {
    name: "SET_PROTOCOL_FEATURES",
    size: 8,
    descriptors: 0,
    act: (s, m) => s.setProtocolFeatures(m),
  }],
  [Request.GET_QUEUE_NUM, {
    name: "GET_QUEUE_NUM",
    size: 0,
    descriptors: 0,
    needs: ProtocolFeature.MQ,
    act: (s) => encodeU64(BigInt(s.device.queueCount)),
  }],
  [Request.SET_VRING_ENABLE, {
    name: "SET_VRING_ENABLE",
    size: 8,
    descriptors: 0,
    act: (s, m) => s.enableVring(m),
  }],
  [Request.SET_BACKEND_REQ_FD, {
    name: "SET_BACKEND_REQ_FD",
    size: [0, 8],
    descriptors: 1,
    needs: ProtocolFeature.BACKEND_REQ,
    act: (s, m) => s.attachBackend(m),
  }],
  [Request.GET_CONFIG, {
    name: "GET_CONFIG",
    size: [12, 12 + 256],
    descriptors: 0,
    needs: ProtocolFeature.CONFIG,
    act: (s, m) => s.getConfig(m),
  }],
  [Request.SET_CONFIG, {
    name: "SET_CONFIG",
    size: [12, 12 + 256],
    descriptors: 0,
    needs: ProtocolFeature.CONFIG,
    act: () => {}, // read-only: a driver's write has no effect
  }],
  [Request.GET_SHMEM_CONFIG, {
    name: "GET_SHMEM_CONFIG",
    size: 0,
    descriptors: 0,
    needs: ProtocolFeature.SHMEM,
    act: (s) => s.shmemConfig(),
  }],
]);

function outside(value: number, allowed: number | readonly [number, number]): boolean {
  return typeof allowed === "number" ? value !== allowed : value < allowed[0] || value > allowed[1];
}

/** One front-end's session. */
export class Session implements Disposable {
  /** The back-end channel; there once the front-end has given it. */
  readonly backend: BackendChannel;
  readonly #vrings: Vring[];
  #features = 0n;
  #protocolFeatures = 0n;
  #running = false;
  #disposed = false;
  /** The last message that came is handled. */
  #handled: Promise<void> = Promise.resolve();
  /** Messages that are not handled. */
  #waiting = 0;

  constructor(readonly frontEnd: FrontEnd, readonly device: SessionDevice, clock: Clock = systemClock) {
    this.backend = new BackendChannel(frontEnd, clock);
    this.#vrings = Array.from(
      { length: device.queueCount },
      (_, index) => new Vring(index, device.queues, () => this.#update()),
    );
  }

  /** Has the front-end agreed to what circuits need? */
  get canMap(): boolean {
    const need = 1n << ProtocolFeature.SHMEM | 1n << ProtocolFeature.BACKEND_REQ;
    return (this.#protocolFeatures & need) === need;
  }

  /**
   * Handle a message of the front-end, after those that came before it.
   *
   * @returns When it is handled; rejects with a {@linkcode ProtocolError} when it is wrong: the caller closes the session.
   */
  message(request: number, flags: number, payload: Uint8Array, descriptors: readonly Descriptor[]): Promise<void> {
    const before = this.#handled;
    const done = this.#handle(before, request, flags, { payload, descriptors: [...descriptors] });
    this.#handled = done.catch(() => {});
    return done;
  }

  /** Handle a message on the back-end channel. @throws {ProtocolError} */
  backendMessage(request: number, flags: number, payload: Uint8Array, descriptors: readonly Descriptor[]): void {
    for (const descriptor of descriptors) descriptor[Symbol.dispose]();
    if (descriptors.length > 0) throw new ProtocolError("descriptor with a reply on the back-end channel");
    this.backend.message(request, flags, payload);
  }

  /** Stop all vrings. */
  async stop(): Promise<void> {
    await Promise.all(this.#vrings.map((vring) => vring.stop()));
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    for (const vring of this.#vrings) vring[Symbol.dispose]();
    this.backend.close();
  }

  async #handle(before: Promise<void>, request: number, flags: number, incoming: Incoming): Promise<void> {
    const { payload, descriptors } = incoming;
    try {
      if (++this.#waiting > MESSAGES_MAX) throw new ProtocolError("it does not wait for its replies");
      await before;
      if (this.#disposed) return;
      const row = this.#check(request, flags, payload, descriptors);
      const reply = await this.#act(row, incoming);
      if (this.#disposed) return;
      if (reply) this.frontEnd.send(encodeMessage(request, Flag.REPLY, reply));
      else if (flags & Flag.NEED_REPLY && this.#has(ProtocolFeature.REPLY_ACK)) {
        this.frontEnd.send(encodeMessage(request, Flag.REPLY, encodeU64(0n)));
      }
    } finally {
      this.#waiting--;
      for (const descriptor of descriptors) descriptor[Symbol.dispose]();
    }
  }

  #check(request: number, flags: number, payload: Uint8Array, descriptors: readonly Descriptor[]): Row {
    const row = table.get(request);
    if (!row) throw new ProtocolError(`unknown request ${request}`);
    if ((flags & Flag.VERSION_MASK) !== Flag.VERSION) {
      throw new ProtocolError(`${row.name}: protocol version ${flags & Flag.VERSION_MASK}, not 1`);
    }
    if (flags & Flag.REPLY) throw new ProtocolError(`${row.name}: a reply where a request belongs`);
    if (outside(payload.length, row.size)) {
      throw new ProtocolError(`${row.name}: payload of ${payload.length} bytes, not ${row.size}`);
    }
    if (outside(descriptors.length, row.descriptors)) {
      throw new ProtocolError(`${row.name}: ${descriptors.length} descriptors, not ${row.descriptors}`);
    }
    if (row.needs !== undefined && !this.#has(row.needs)) {
      throw new ProtocolError(`${row.name}: protocol feature ${row.needs} was not negotiated`);
    }
    return row;
  }

  async #act(row: Row, incoming: Incoming): Promise<Uint8Array | void> {
    try {
      return await row.act(this, incoming);
    } catch (error) {
      // What the data plane refuses is the front-end's fault as well: its memory, its rings, its descriptors.
      if (error instanceof SystemError) throw new ProtocolError(`${row.name}: ${error.message}`);
      throw error;
    }
  }

  #has(feature: bigint): boolean {
    return (this.#protocolFeatures >> feature & 1n) === 1n;
  }

  #update(): void {
    const running = this.#vrings.every((vring) => vring.running);
    if (running === this.#running) return;
    this.#running = running;
    if (running) this.device.started();
    else this.device.stopped();
  }

  // The acts of the table.

  setFeatures({ payload }: Incoming): void {
    const features = decodeU64(payload);
    if (features & ~FEATURES) {
      throw new ProtocolError(`SET_FEATURES: bits 0x${(features & ~FEATURES).toString(16)} were not offered`);
    }
    if (!(features >> Feature.VERSION_1 & 1n)) {
      throw new ProtocolError("SET_FEATURES: a driver without VIRTIO_F_VERSION_1 is not supported");
    }
    this.#features = features;
  }

  setProtocolFeatures({ payload }: Incoming): void {
    const features = decodeU64(payload);
    if (features & ~PROTOCOL_FEATURES) {
      throw new ProtocolError(
        `SET_PROTOCOL_FEATURES: bits 0x${(features & ~PROTOCOL_FEATURES).toString(16)} were not offered`,
      );
    }
    this.#protocolFeatures = features;
  }

  setMemory({ payload, descriptors }: Incoming): Promise<void> {
    const view = viewOf(payload);
    const count = view.getUint32(0, true);
    if (count > MEMORY_REGIONS || payload.length !== 8 + 32 * count) {
      throw new ProtocolError(`SET_MEM_TABLE: ${count} regions in ${payload.length} bytes`);
    }
    if (descriptors.length !== count) {
      throw new ProtocolError(`SET_MEM_TABLE: ${count} regions with ${descriptors.length} descriptors`);
    }
    const regions: Region[] = [];
    for (const [i, descriptor] of descriptors.entries()) {
      // An arena that is mapped shows up in the table too; nobody translates addresses in it.
      if (this.device.isArena(descriptor.identity())) continue;
      const at = 8 + 32 * i;
      regions.push({
        guest: view.getBigUint64(at, true),
        size: view.getBigUint64(at + 8, true),
        user: view.getBigUint64(at + 16, true),
        offset: view.getBigUint64(at + 24, true),
        descriptor,
      });
    }
    return this.device.queues.setMemory(regions);
  }

  /** The vring that a message names at its beginning. */
  vring({ payload }: Incoming, mask = 0xffffffff): Vring {
    const index = (viewOf(payload).getUint32(0, true) & mask) >>> 0;
    const vring = this.#vrings[index];
    if (!vring) throw new ProtocolError(`queue index ${index} of ${this.#vrings.length} queues`);
    return vring;
  }

  /** The descriptor of a vring message, or undefined where its flag says that there is none. */
  vringDescriptor({ payload, descriptors }: Incoming): Descriptor | undefined {
    const none = (decodeU64(payload) & NO_DESCRIPTOR) !== 0n;
    if (none !== (descriptors.length === 0)) {
      throw new ProtocolError(`vring message with ${descriptors.length} descriptors, against its flag`);
    }
    return descriptors.pop();
  }

  setKick(message: Incoming): Promise<void> {
    const vring = this.vring(message, DESCRIPTOR_INDEX);
    const kick = this.vringDescriptor(message);
    if (!kick) throw new ProtocolError("SET_VRING_KICK: polling is not supported");
    return vring.setKick(kick);
  }

  enableVring(message: Incoming): Promise<void> {
    const on = viewOf(message.payload).getUint32(4, true);
    if (on > 1) throw new ProtocolError(`SET_VRING_ENABLE: ${on} is neither 0 nor 1`);
    return this.vring(message).enable(on === 1, this.#features);
  }

  async getBase(message: Incoming): Promise<Uint8Array> {
    const vring = this.vring(message);
    const reply = new Uint8Array(8);
    const view = new DataView(reply.buffer);
    view.setUint32(0, vring.index, true);
    view.setUint32(4, await vring.stop(), true);
    return reply;
  }

  async attachBackend({ descriptors }: Incoming): Promise<void> {
    const descriptor = descriptors.pop();
    if (descriptor) await this.frontEnd.attachBackend(descriptor);
  }

  getConfig({ payload }: Incoming): Uint8Array {
    const view = viewOf(payload);
    const offset = view.getUint32(0, true);
    const size = view.getUint32(4, true);
    if (payload.length !== 12 + size) {
      throw new ProtocolError(`GET_CONFIG: ${size} bytes asked for in a payload of ${payload.length}`);
    }
    const reply = payload.slice();
    // What lies behind the configuration space reads as zeros.
    reply.fill(0, 12);
    reply.set(this.device.config().subarray(Math.min(offset, 256), Math.min(offset, 256) + size), 12);
    return reply;
  }

  shmemConfig(): Uint8Array {
    const reply = new Uint8Array(8 + 8 * SHMEM_REGIONS);
    const view = new DataView(reply.buffer);
    view.setUint32(0, 1, true);
    view.setBigUint64(8, this.device.windowBytes, true);
    return reply;
  }
}
