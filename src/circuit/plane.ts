/**
 * What the switch operator needs from the data plane. `src/ffi` implements it.
 *
 * @module
 */

/** The device of one VM: its control and event queues, and the routes of its circuits. */
export interface Device {
  /** Answer a control request. A ticket that is not open any more is ignored. */
  reply(ticket: number, response: Uint8Array): void;
  /**
   * Put an announcement on the event queue.
   *
   * @param reset Is it a RESET? All circuits of a VM may be reset at once, through no fault of its driver: those do not count with the others.
   * @throws {SystemError} ENOBUFS when the driver lets too many wait.
   */
  announce(event: Uint8Array, reset: boolean): void;
  /** Let doorbells of `id` wake `peerId` of the other device, and the other way round. @throws {SystemError} */
  addRoute(id: number, peer: Device, peerId: number): void;
  /**
   * Remove the route of `id`, both ways; one that is not there is ignored. Resolves when no doorbell passes any more: then the ids may be
   * given to others. It never rejects.
   */
  removeRoute(id: number): Promise<void>;
}

/** A sealed piece of shared memory, in bytes. */
export interface ArenaMemory extends Disposable {
  readonly length: number;
  /** Tells files apart, as {@linkcode Descriptor.identity}. */
  readonly identity: string;
  /** Its descriptor's number, for SHMEM_MAP. */
  readonly fd: number;
  /** Write bytes at its beginning. */
  stamp(bytes: Uint8Array): void;
  /**
   * Zero a range. Its pages keep their memory when they come to at most `keep` bytes, of at most 64 KiB; otherwise they are given back. It is done once the promise has
   * resolved, in the order of the calls; others who have the memory may delay it.
   *
   * @returns Bytes that have memory behind them now. Rejects with a {@linkcode SystemError} when it cannot be done, and may be done yet: the range is of no more use.
   */
  wipe(offset: number, length: number, keep: number): Promise<number>;
  /** How many pages have memory behind them. */
  pages(): number;
}

/** Makes arenas' memory, for those VMs, by name. @throws {SystemError} */
export type ArenaMemoryFactory = (length: number, vms: readonly string[]) => ArenaMemory;

/**
 * Maps arenas into a VM's window; numbers in bytes, page multiples. Requests are done in their order. They take as long as the front-end
 * does, which may be stopped; they reject when it refuses or is gone.
 */
export interface Mapper {
  /** The front-end has not answered for a while. */
  readonly overdue: boolean;
  map(fd: number, windowOffset: number, length: number): Promise<void>;
  unmap(windowOffset: number, length: number): Promise<void>;
  /** Resolves when all requests are answered, or the front-end is gone; undefined when none is under way. It never rejects. */
  answered(): Promise<void> | undefined;
}
