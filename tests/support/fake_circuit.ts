/**
 * A circuit in a fake guest's window: the ring protocol of docs/virtio-circuit.md, and the ways to break it.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { Layout, RequestType } from "../../src/circuit/records.ts";
import { addressOf, parseAddress } from "../../src/net/address.ts";
import type { FakeDriver } from "./fake_driver.ts";
import { u64s } from "./fake_front_end.ts";
import { bytesAt } from "./native.ts";
import { until } from "./until.ts";

/** State bits of a control page. */
export const State = { FIN: 1, CLOSED: 2, RESET: 4 } as const;

/** One end of a circuit. */
export class FakeCircuit {
  readonly own: DataView;
  readonly peer: DataView;
  readonly tx: Uint8Array;
  readonly rx: Uint8Array;
  #tail = 0n;
  #head = 0n;
  #rung = 0;

  constructor(
    readonly driver: FakeDriver,
    readonly id: number,
    readonly ringBytes: number,
    /** Offsets in the window. */
    readonly at: { own: number; peer: number; tx: number; rx: number },
  ) {
    const { window } = driver.frontEnd;
    this.own = new DataView(bytesAt(window, at.own, 4096).buffer);
    this.peer = new DataView(bytesAt(window, at.peer, 4096).buffer);
    this.tx = bytesAt(window, at.tx, ringBytes);
    this.rx = bytesAt(window, at.rx, ringBytes);
  }

  /** Free bytes of the own ring. */
  get room(): number {
    return this.ringBytes - Number(this.#tail - this.peer.getBigUint64(64, true));
  }

  /** Write as much as there is room for; bytes written. */
  write(bytes: Uint8Array): number {
    const n = Math.min(bytes.length, this.room);
    for (let i = 0; i < n; i++) this.tx[Number((this.#tail + BigInt(i)) % BigInt(this.ringBytes))] = bytes[i]!;
    this.#tail += BigInt(n);
    this.own.setBigUint64(0, this.#tail, true);
    return n;
  }

  /** Read what is there. */
  read(): Uint8Array {
    const n = Number(this.peer.getBigUint64(0, true) - this.#head);
    const bytes = Uint8Array.from(
      { length: n },
      (_, i) => this.rx[Number((this.#head + BigInt(i)) % BigInt(this.ringBytes))]!,
    );
    this.#head += BigInt(n);
    this.own.setBigUint64(64, this.#head, true);
    return bytes;
  }

  /** Read until that many bytes have come, and let the peer know. */
  async readAll(count: number): Promise<Uint8Array> {
    const got: Uint8Array[] = [];
    let length = 0;
    await until(`${count} bytes`, () => {
      const bytes = this.read();
      length += bytes.length;
      got.push(bytes);
      return length >= count;
    });
    this.ring();
    return Uint8Array.from(Buffer.concat(got));
  }

  /** Write a datagram's frame; false where there is no room. Its address is what the header says. */
  writeDatagram(address: string, port: number, payload: Uint8Array, change?: (header: DataView) => void): boolean {
    const frame = new Uint8Array(Layout.datagram.size + Math.ceil(payload.length / 8) * 8);
    const view = new DataView(frame.buffer);
    const { family, bytes } = parseAddress(address);
    view.setUint32(Layout.datagram.size_field, payload.length, true);
    view.setUint8(Layout.datagram.family, family);
    view.setUint16(Layout.datagram.port, port, true);
    frame.set(bytes, Layout.datagram.ip);
    frame.set(payload, Layout.datagram.size);
    change?.(view);
    if (this.room < frame.length) return false;
    this.write(frame);
    this.ring();
    return true;
  }

  /** The next datagram that comes. */
  async readDatagram(): Promise<{ address: string; port: number; error: number; payload: Uint8Array }> {
    const bytes = await until("a datagram", () => {
      const n = Number(this.peer.getBigUint64(0, true) - this.#head);
      return n > 0 && this.#read(Layout.datagram.size, false);
    });
    const view = new DataView(bytes.buffer);
    const size = view.getUint32(Layout.datagram.size_field, true);
    const length = view.getUint8(Layout.datagram.family) === 4 ? 4 : 16;
    const frame = this.#read(Layout.datagram.size + Math.ceil(size / 8) * 8, true);
    this.ring();
    return {
      address: addressOf(bytes.slice(Layout.datagram.ip, Layout.datagram.ip + length)).text,
      port: view.getUint16(Layout.datagram.port, true),
      error: view.getUint16(Layout.datagram.error, true),
      payload: frame.subarray(Layout.datagram.size, Layout.datagram.size + size),
    };
  }

  #read(count: number, consume: boolean): Uint8Array<ArrayBuffer> {
    const at = this.#head;
    const bytes = Uint8Array.from(
      { length: count },
      (_, i) => this.rx[Number((at + BigInt(i)) % BigInt(this.ringBytes))]!,
    );
    if (consume) {
      this.#head += BigInt(count);
      this.own.setBigUint64(64, this.#head, true);
    }
    return bytes;
  }

  /** Ask to be woken by bytes. */
  arm(): void {
    this.own.setUint32(128, this.own.getUint32(128, true) + 1, true);
  }

  /** Ring for the peer. */
  ring(): void {
    this.driver.ring(this.id);
  }

  /** Has the peer asked to be rung for, since it last was by {@linkcode ringIfAsked}? */
  get asked(): boolean {
    Atomics.exchange(new Int32Array(1), 0, 0); // a fence: what was written comes before what is read now
    return this.peer.getUint32(128, true) !== this.#rung;
  }

  /** Ring for the peer if it has asked for that, as drivers do after writing. */
  ringIfAsked(): void {
    if (!this.asked) return;
    this.#rung = this.peer.getUint32(128, true);
    this.ring();
  }

  /** Set state bits. */
  setState(state: number): void {
    this.own.setUint32(8, state, true);
  }

  /** The peer's state bits. */
  get peerState(): number {
    return this.peer.getUint32(8, true);
  }

  /** Send CLOSE; the errno it is answered with. */
  async close(flags = 0): Promise<number> {
    this.setState(State.FIN | State.CLOSED);
    const answer = await this.driver.request(RequestType.CLOSE, [
      [16, new Uint8Array(Uint32Array.of(this.id, flags).buffer)],
      [24, u64s(this.#tail, this.#head)],
    ], 40);
    return answer.error;
  }
}
