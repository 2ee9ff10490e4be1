/**
 * Fakes of what the vhost-user back-end needs from the data plane, for units.
 *
 * @module
 */

import { Acknowledgements } from "./acknowledgements.ts";
import { Errno, SystemError } from "../../src/errno.ts";
import type { SessionDevice } from "../../src/vhost/session.ts";
import type { Descriptor, FrontEnd, Queues, QueueSetup, Region } from "../../src/vhost/transport.ts";

/** A descriptor that is a number, and knows whether it was closed. */
export class FakeDescriptor implements Descriptor {
  static #count = 100;
  /** How often it was closed while it was owned: must become 1, or it must be released. */
  state: "open" | "closed" | "released" = "open";
  readonly #fd = FakeDescriptor.#count++;

  constructor(readonly file: string = "file") {}

  get fd(): number {
    if (this.state !== "open") throw new Error(`descriptor is ${this.state}`);
    return this.#fd;
  }

  release(): number {
    const { fd } = this;
    this.state = "released";
    return fd;
  }

  identity(): string {
    return this.file;
  }

  [Symbol.dispose](): void {
    if (this.state === "open") this.state = "closed";
  }
}

/** A front-end's connection that keeps what is sent. */
export class FakeConnection implements FrontEnd {
  readonly sent: { request: number; flags: number; payload: Uint8Array }[] = [];
  readonly sentBackend: { request: number; flags: number; payload: Uint8Array; fd: number }[] = [];
  backend: Descriptor | undefined;
  closed = 0;

  send(bytes: Uint8Array): void {
    this.sent.push(parse(bytes));
  }

  attachBackend(descriptor: Descriptor): Promise<void> {
    return Promise.try(() => {
      descriptor.release();
      this.backend = descriptor;
    });
  }

  sendBackend(bytes: Uint8Array, fd: number): boolean {
    if (!this.backend) return false;
    this.sentBackend.push({ ...parse(bytes), fd });
    return true;
  }

  close(): void {
    this.closed++;
  }
}

function parse(bytes: Uint8Array): { request: number; flags: number; payload: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const size = view.getUint32(8, true);
  if (bytes.length !== 12 + size) throw new Error("message of a wrong size");
  return { request: view.getUint32(0, true), flags: view.getUint32(4, true), payload: bytes.slice(12) };
}

/** Queues that are none. */
export class FakeQueues implements Queues {
  readonly running = new Map<number, QueueSetup>();
  readonly calls = new Map<number, number | undefined>();
  regions: readonly Region[] = [];
  /** What a start fails with. */
  errno = 0;
  /** What a stop returns. */
  base = 7;
  /** Of what is asked for. */
  readonly acknowledgements = new Acknowledgements();

  #do<T>(act: () => T): Promise<T> {
    const done = Promise.withResolvers<T>();
    const outcome = Promise.try(act);
    // Done at once, and said later.
    outcome.catch(() => {});
    return this.acknowledgements.give(() => done.resolve(outcome)).then(() => done.promise);
  }

  setMemory(regions: readonly Region[]): Promise<void> {
    return this.#do(() => {
      if (this.errno) throw new SystemError("map guest memory", this.errno);
      this.regions = regions;
    });
  }

  startQueue(setup: QueueSetup): Promise<void> {
    return this.#do(() => {
      setup.kick.release();
      setup.call?.release();
      if (this.errno) throw new SystemError(`start virtqueue ${setup.index}`, this.errno);
      if (this.running.has(setup.index)) throw new SystemError("start a queue twice", Errno.EEXIST);
      this.running.set(setup.index, setup);
    });
  }

  setCall(queue: number, call: Descriptor | undefined): Promise<void> {
    return this.#do(() => {
      this.calls.set(queue, call?.release());
    });
  }

  stopQueue(queue: number): Promise<number> {
    return this.#do(() => {
      if (!this.running.delete(queue)) throw new SystemError("stop a queue that does not run", Errno.EINVAL);
      return this.base;
    });
  }
}

/** A device of two queues. */
export class FakeDevice implements SessionDevice {
  readonly queues = new FakeQueues();
  readonly queueCount = 2;
  readonly windowBytes = 1n << 30n;
  readonly log: string[] = [];

  config(): Uint8Array {
    return Uint8Array.from({ length: 128 }, (_, i) => i);
  }

  isArena(identity: string): boolean {
    return identity === "arena";
  }

  started(): void {
    this.log.push("started");
  }

  stopped(): void {
    this.log.push("stopped");
  }
}
