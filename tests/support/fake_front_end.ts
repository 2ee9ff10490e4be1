/**
 * A fake front-end: what QEMU does with a vhost-user device, on a real unix socket with real descriptors. Every step can
 * also be done wrong. What a real QEMU would not survive, or refuse, of the switch's own requests is kept, and fails the test in the end.
 *
 * @module
 */

import * as native from "./native.ts";
import { until } from "./until.ts";

const NEED_REPLY = 8;
/** What QEMU offers. */
export const FEATURES = 1n << 32n | 1n << 30n | 1n << 29n | 1n << 28n;
export const PROTOCOL_FEATURES = 0x400629n;
/** Where the fake guest's memory lies in the "front-end's process". */
export const USER_BASE = 0x7f00_0000_0000n;
const MEMORY_BYTES = 4 << 20;
const WINDOW_BYTES = 2 ** 34;

/** A payload of u64s. */
export function u64s(...values: bigint[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(BigUint64Array.from(values).buffer);
}

/** A payload of u32s. */
export function u32s(...values: number[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

/** A fake QEMU. */
export class FakeFrontEnd implements AsyncDisposable {
  readonly socket: number;
  readonly memoryFd: number;
  readonly memory: native.Memory;
  /** The VM's window, as its guest sees it. */
  readonly window: native.Memory;
  readonly kicks: number[] = [];
  readonly calls: number[] = [];
  /** Window mappings now, by offset. */
  readonly maps = new Map<number, number>();
  /** Answer SHMEM_MAP with this; 1 refuses, undefined says nothing. */
  mapAnswer: bigint | undefined = 0n;
  /** A driver is there: it has said HELLO, and BYE has not been answered. */
  driverIsUp = false;
  /** Requests on the back-end channel wait, as while QEMU is stopped. */
  standsStill = false;
  /** The driver resets its device without BYE, whatever is being asked of QEMU: no switch can help that. */
  driverCrashes = false;
  /** Keep arenas' descriptors, in {@linkcode FakeFrontEnd.kept}. */
  keepsArenas = false;
  readonly kept: number[] = [];
  /** What the switch did that kills a QEMU, or that it refuses. */
  readonly wrongs: string[] = [];
  #started = false;
  /** Mappings that were acknowledged, and are not in the guest yet. */
  #soon: (() => void)[] = [];
  readonly #replies: { request: number; payload: Uint8Array<ArrayBuffer> }[] = [];
  #input = new Uint8Array(0);
  #backend = -1;
  #closed = false;
  readonly #loop: Promise<void>;

  constructor(path: string, readonly queues = 4) {
    this.socket = native.connect(path);
    this.memoryFd = native.memfd(MEMORY_BYTES);
    this.memory = native.map(this.memoryFd, 0, MEMORY_BYTES);
    this.window = native.reserve(WINDOW_BYTES);
    for (let i = 0; i < queues; i++) {
      this.kicks.push(native.eventfd());
      this.calls.push(native.eventfd());
    }
    this.#loop = this.#run();
  }

  /** Whether the back-end has closed the connection. */
  ended = false;

  /** Send a message as it is. */
  sendRaw(bytes: Uint8Array<ArrayBuffer>, fds: readonly number[] = []): void {
    native.send(this.socket, bytes, fds);
  }

  /** Send a message. */
  send(request: number, payload: Uint8Array = new Uint8Array(), fds: readonly number[] = [], flags = 1): void {
    const bytes = new Uint8Array(12 + payload.length);
    bytes.set(u32s(request, flags, payload.length));
    bytes.set(payload, 12);
    this.sendRaw(bytes, fds);
  }

  /** Send a message and wait for its reply. */
  async ask(
    request: number,
    payload?: Uint8Array,
    fds?: readonly number[],
    flags = 1,
  ): Promise<Uint8Array<ArrayBuffer>> {
    this.send(request, payload, fds, flags);
    return await this.reply(request);
  }

  /** Wait for the reply to a message that was sent. */
  async reply(request: number): Promise<Uint8Array<ArrayBuffer>> {
    const reply = await until(`reply to ${request}`, () => {
      if (this.ended && this.#replies.length === 0) throw new Error(`session ended before the reply to ${request}`);
      return this.#replies.shift();
    });
    if (reply.request !== request) throw new Error(`reply to ${reply.request}, not ${request}`);
    return reply.payload;
  }

  /** Send a message, and check that it is acknowledged. */
  async acknowledged(request: number, payload: Uint8Array, fds?: readonly number[]): Promise<void> {
    const reply = await this.ask(request, payload, fds, 1 | NEED_REPLY);
    if (new DataView(reply.buffer).getBigUint64(0, true) !== 0n) throw new Error(`request ${request} was refused`);
  }

  /** The messages that QEMU sends when the device is realized. */
  async realize(protocolFeatures = PROTOCOL_FEATURES): Promise<void> {
    await this.ask(1);
    await this.ask(15);
    this.send(16, u64s(protocolFeatures));
    await this.ask(17);
    const [ours, theirs] = native.socketPair();
    this.#backend = ours;
    await this.acknowledged(21, new Uint8Array(), [theirs]);
    native.close(theirs);
    this.send(3);
    await this.ask(1);
    for (let i = 0; i < this.queues; i++) {
      await this.acknowledged(13, u64s(BigInt(i)), [this.calls[i]!]);
      await this.acknowledged(14, u64s(BigInt(i)), [this.calls[i]!]);
    }
    await this.ask(44);
  }

  /** The configuration space. */
  async config(): Promise<Uint8Array<ArrayBuffer>> {
    const payload = new Uint8Array(12 + 128);
    payload.set(u32s(0, 128, 0));
    return (await this.ask(24, payload)).slice(12);
  }

  /** The memory table: guest-physical 0 is the memory's beginning. */
  async setMemory(): Promise<void> {
    const payload = new Uint8Array(8 + 32);
    payload.set(u32s(1, 0));
    payload.set(u64s(0n, BigInt(MEMORY_BYTES), USER_BASE, 0n), 8);
    await this.acknowledged(5, payload, [this.memoryFd]);
  }

  /** One queue's messages at DRIVER_OK, but for the enabling. */
  async setQueue(index: number, queue: { size: number; desc: number; avail: number; used: number }): Promise<void> {
    this.send(8, u32s(index, queue.size));
    this.send(10, u32s(index, 0));
    const payload = new Uint8Array(40);
    payload.set(u32s(index, 0));
    payload.set(
      u64s(USER_BASE + BigInt(queue.desc), USER_BASE + BigInt(queue.used), USER_BASE + BigInt(queue.avail), 0n),
      8,
    );
    this.send(9, payload);
    await this.acknowledged(12, u64s(BigInt(index)), [this.kicks[index]!]);
    await this.acknowledged(13, u64s(BigInt(index)), [this.calls[index]!]);
  }

  /** VRING_ENABLE for all queues. */
  async enable(on: boolean): Promise<void> {
    if (!on) this.#started = this.driverIsUp = false;
    for (let i = 0; i < this.queues; i++) await this.acknowledged(18, u32s(i, on ? 1 : 0));
    this.#started = on;
  }

  /** What QEMU sends when the device is reset. */
  async stop(): Promise<void> {
    await this.enable(false);
    for (let i = 0; i < this.queues; i++) await this.ask(11, u32s(i, 0));
    for (const [offset, length] of [...this.maps]) this.#unmapWindow(offset, length);
  }

  /** Make the whole window read zero there again. */
  #unmapWindow(offset: number, length: number): void {
    const zeros = native.memfd(length, false);
    native.map(zeros, 0, length, { memory: this.window, offset });
    native.close(zeros);
    this.maps.delete(offset);
  }

  /** Close everything, as a killed QEMU does. @throws {Error} when the switch did what it must not. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#loop;
    for (const map of this.#soon.splice(0)) map();
    for (const fd of [this.socket, this.memoryFd, this.#backend, ...this.kicks, ...this.calls, ...this.kept]) {
      if (fd >= 0) native.close(fd);
    }
    native.unmap(this.memory);
    native.unmap(this.window);
    if (this.wrongs.length > 0) throw new Error(`QEMU would not have it: ${this.wrongs.join("; ")}`);
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      for (const map of this.#soon.splice(0)) map();
      this.#readReplies();
      if (!this.standsStill) this.#readBackend();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  #readReplies(): void {
    if (this.ended) return;
    for (let got = native.receive(this.socket); got; got = native.receive(this.socket)) {
      if (got.bytes.length === 0) {
        this.ended = true;
        return;
      }
      const joined = new Uint8Array(this.#input.length + got.bytes.length);
      joined.set(this.#input);
      joined.set(got.bytes, this.#input.length);
      this.#input = joined;
    }
    while (this.#input.length >= 12) {
      const view = new DataView(this.#input.buffer, this.#input.byteOffset);
      const size = view.getUint32(8, true);
      if (this.#input.length < 12 + size) return;
      this.#replies.push({ request: view.getUint32(0, true), payload: this.#input.slice(12, 12 + size) });
      this.#input = this.#input.slice(12 + size);
    }
  }

  #readBackend(): void {
    if (this.#backend < 0) return;
    const got = native.receive(this.#backend);
    if (!got) return;
    if (got.bytes.length === 0) {
      native.close(this.#backend);
      this.#backend = -1;
      return;
    }
    // The back-end waits for each reply, or sends few at a time: messages come whole, though several may come at once.
    for (let at = 0; at + 52 <= got.bytes.length; at += 52) {
      const view = new DataView(got.bytes.buffer, at);
      const request = view.getUint32(0, true);
      const offset = Number(view.getBigUint64(12 + 16, true));
      const length = Number(view.getBigUint64(12 + 24, true));
      const fileOffset = Number(view.getBigUint64(12 + 8, true));
      const refused = this.#refuses(request, { fileOffset, offset, length, fd: got.fd });
      if (this.mapAnswer === undefined) continue;
      this.replyOnBackend(request, refused ? 1n : this.mapAnswer);
      if (refused || this.mapAnswer !== 0n) continue;
      if (this.keepsArenas && got.fd >= 0) this.kept.push(native.duplicate(got.fd));
      if (request === 9) this.#mapWindow(got.fd, fileOffset, offset, length);
      else this.#unmapWindow(offset, length);
    }
    if (got.fd >= 0) native.close(got.fd);
  }

  /** What QEMU does with a request: it dies of some, and refuses others, which a switch should not make either. */
  #refuses(
    request: number,
    { fileOffset, offset, length, fd }: { fileOffset: number; offset: number; length: number; fd: number },
  ): boolean {
    const what = `${request === 9 ? "SHMEM_MAP" : "SHMEM_UNMAP"} of ${length} bytes at ${offset}`;
    const wrong = (why: string): true => this.wrongs.push(`${what}: ${why}`) > 0 as true;
    if (!this.#started && this.driverCrashes) return true;
    if (!this.#started) wrong("the device is not started");
    else if (!this.driverIsUp) wrong("its driver has said goodbye");
    if ([fileOffset, offset, length].some((n) => n % 4096 !== 0) || length === 0) wrong("not aligned");
    if (request !== 9) return this.maps.get(offset) !== length && wrong("not what was mapped");
    if (fileOffset + length > Deno.statSync(`/proc/self/fd/${fd}`).size) wrong("beyond the end of its file");
    if (offset + length > WINDOW_BYTES) return wrong("past the end of the window");
    const overlaps = [...this.maps].some(([at, bytes]) => offset < at + bytes && at < offset + length);
    return overlaps && wrong("an overlap");
  }

  /** QEMU says that it is mapped before the guest can see it. */
  #mapWindow(fd: number, fileOffset: number, offset: number, length: number): void {
    const mine = native.duplicate(fd);
    this.maps.set(offset, length);
    this.#soon.push(() => {
      if (this.maps.get(offset) === length) native.map(mine, fileOffset, length, { memory: this.window, offset });
      native.close(mine);
    });
  }

  /** A reply on the back-end channel. */
  replyOnBackend(request: number, value: bigint): void {
    const reply = new Uint8Array(20);
    reply.set(u32s(request, 5, 8));
    reply.set(u64s(value), 12);
    native.send(this.#backend, reply);
  }
}
