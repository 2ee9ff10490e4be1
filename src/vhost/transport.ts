/**
 * What the vhost-user back-end needs from the data plane. `src/ffi` implements it, and tests may do so too.
 *
 * @module
 */

/** A file descriptor that came with a message. Whoever holds it last closes it; closing twice does nothing. */
export interface Descriptor extends Disposable {
  /** Its number, for handing it on. @throws {Error} when it was closed or handed over. */
  readonly fd: number;
  /** Give the number away: it is not closed here any more. */
  release(): number;
  /** Tells files apart: device and inode. */
  identity(): string;
}

/** One vhost-user message as it came in. */
export interface Message {
  /** Request id, unchecked. */
  readonly request: number;
  /** The flags word, with the version in its low two bits. */
  readonly flags: number;
  readonly payload: Uint8Array;
  readonly descriptors: readonly Descriptor[];
}

/** A connection to a front-end, and the back-end channel that it may give. */
export interface FrontEnd {
  /** Send bytes. A front-end that is gone or does not read ends the session by itself; nothing is thrown. */
  send(bytes: Uint8Array): void;
  /** Take the back-end channel over. Rejects with a {@linkcode SystemError}. */
  attachBackend(descriptor: Descriptor): Promise<void>;
  /** Send a request on the back-end channel, with a descriptor. Returns whether it was sent. */
  sendBackend(bytes: Uint8Array, fd: number): boolean;
  /** Close the connection. */
  close(): void;
}

/** A region of guest memory, as in SET_MEM_TABLE; in bytes. */
export interface Region {
  readonly guest: bigint;
  readonly size: bigint;
  readonly user: bigint;
  readonly offset: bigint;
  readonly descriptor: Descriptor;
}

/** A virtqueue as it is started. Addresses are the front-end's user addresses. */
export interface QueueSetup {
  readonly index: number;
  /** Entries. */
  readonly size: number;
  /** Next available index. */
  readonly base: number;
  readonly desc: bigint;
  readonly avail: bigint;
  readonly used: bigint;
  /** Negotiated virtio features. */
  readonly features: bigint;
  readonly kick: Descriptor;
  readonly call: Descriptor | undefined;
}

/** The virtqueues of one device. What is asked for is done in its order. All reject with a {@linkcode SystemError}. */
export interface Queues {
  /** Map guest memory; the descriptors stay the caller's. */
  setMemory(regions: readonly Region[]): Promise<void>;
  /** Start a queue; its descriptors are taken over. */
  startQueue(setup: QueueSetup): Promise<void>;
  /** Change the call descriptor of a running queue; it is taken over. */
  setCall(queue: number, call: Descriptor | undefined): Promise<void>;
  /** Stop a queue; the next available index, once nothing of it is touched any more. */
  stopQueue(queue: number): Promise<number>;
}
