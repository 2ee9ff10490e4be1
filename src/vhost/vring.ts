/**
 * The state of one vring as the front-end builds it up, message by message.
 *
 * @module
 */

import { ProtocolError, QUEUE_SIZE_MAX, viewOf } from "./protocol.ts";
import type { Descriptor, Queues } from "./transport.ts";

/**
 * One vring. It runs when it has its kick descriptor and is enabled; stopping keeps its next available index. It does not run any more as soon
 * as it is to be stopped, and runs once the data plane says that it has started it.
 */
export class Vring implements Disposable {
  #size = 0;
  #base = 0;
  #addresses: { desc: bigint; used: bigint; avail: bigint } | undefined;
  #kick: Descriptor | undefined;
  #call: Descriptor | undefined;
  #error: Descriptor | undefined;
  #enabled = false;
  #running = false;
  #disposed = false;

  /** @param changed Told when it runs, and when it does not any more. */
  constructor(readonly index: number, readonly queues: Queues, readonly changed: () => void = () => {}) {}

  /** Whether the data plane works on it. */
  get running(): boolean {
    return this.#running;
  }

  /** SET_VRING_NUM. @throws {ProtocolError} */
  setSize(size: number): void {
    this.#mustRest("SET_VRING_NUM");
    if (size === 0 || size > QUEUE_SIZE_MAX || (size & (size - 1)) !== 0) {
      throw new ProtocolError(
        `vring ${this.index}: size ${size} is not a power of two from 1 to ${QUEUE_SIZE_MAX}`,
      );
    }
    this.#size = size;
  }

  /** SET_VRING_BASE. @throws {ProtocolError} */
  setBase(base: number): void {
    this.#mustRest("SET_VRING_BASE");
    if (base > 0xffff) throw new ProtocolError(`vring ${this.index}: base ${base} is over 65535`);
    this.#base = base;
  }

  /** SET_VRING_ADDR, with its whole payload. @throws {ProtocolError} */
  setAddresses(payload: Uint8Array): void {
    this.#mustRest("SET_VRING_ADDR");
    const view = viewOf(payload);
    this.#addresses = {
      desc: view.getBigUint64(8, true),
      used: view.getBigUint64(16, true),
      avail: view.getBigUint64(24, true),
    };
  }

  /** SET_VRING_KICK. @throws {ProtocolError} */
  async setKick(kick: Descriptor): Promise<void> {
    this.#kick?.[Symbol.dispose]();
    this.#kick = kick;
    await this.stop();
    await this.#start();
  }

  /** SET_VRING_CALL; undefined: the front-end polls. */
  async setCall(call: Descriptor | undefined): Promise<void> {
    if (this.#running) return await this.queues.setCall(this.index, call);
    this.#call?.[Symbol.dispose]();
    this.#call = call;
  }

  /** SET_VRING_ERR: kept open, as the front-end expects, and not used. */
  setError(error: Descriptor | undefined): void {
    this.#error?.[Symbol.dispose]();
    this.#error = error;
  }

  /** SET_VRING_ENABLE. @throws {ProtocolError} */
  async enable(on: boolean, features: bigint): Promise<void> {
    this.#enabled = on;
    this.#features = features;
    if (on) await this.#start();
    else await this.stop();
  }
  #features = 0n;

  /** GET_VRING_BASE: stop, and tell the next available index. */
  async stop(): Promise<number> {
    if (this.#running) {
      this.#become(false);
      this.#base = await this.queues.stopQueue(this.index);
    }
    return this.#base;
  }

  /** The connection is over, and the device goes with it. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    // Nobody waits for it, and whether it could be stopped does not matter to anybody.
    if (this.#running) this.stop().catch(() => {});
    this.#kick?.[Symbol.dispose]();
    this.#call?.[Symbol.dispose]();
    this.#error?.[Symbol.dispose]();
    this.#kick = this.#call = this.#error = undefined;
  }

  #become(running: boolean): void {
    this.#running = running;
    this.changed();
  }

  async #start(): Promise<void> {
    if (!this.#enabled || !this.#kick || this.#running) return;
    if (this.#size === 0) throw new ProtocolError(`vring ${this.index}: enabled without a size`);
    if (!this.#addresses) throw new ProtocolError(`vring ${this.index}: enabled without addresses`);
    const kick = this.#kick;
    const call = this.#call;
    this.#kick = this.#call = undefined;
    await this.queues.startQueue({
      index: this.index,
      size: this.#size,
      base: this.#base,
      ...this.#addresses,
      features: this.#features,
      kick,
      call,
    });
    if (!this.#disposed) this.#become(true);
  }

  #mustRest(request: string): void {
    if (this.#running) throw new ProtocolError(`vring ${this.index}: ${request} while it runs`);
  }
}
