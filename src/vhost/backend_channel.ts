/**
 * The back-end channel: our requests to the front-end, SHMEM_MAP and SHMEM_UNMAP.
 *
 * Theory of operation. Replies come in the order of the requests, and each belongs to the oldest one: so a request is never given up while the
 * channel lives, or each later reply would be taken for another's. A front-end that is stopped (a paused QEMU) is *overdue* after a while: that is
 * said once, and whoever wants something new of it asks {@linkcode BackendChannel.overdue} first. Once it goes on, all that waits is answered.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock, Timer } from "../clock.ts";
import { BackendRequest, decodeU64, encodeMessage, Flag, ProtocolError } from "./protocol.ts";
import type { FrontEnd } from "./transport.ts";

const log = getLogger(["csvn", "vhost"]);

/** Milliseconds after which a front-end that has not answered is overdue. */
const REPLY_MS = 10_000;
const PAYLOAD = 40;

interface Waiting {
  readonly request: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  /** Resolves when it is answered, or the channel is over. */
  readonly answered: Promise<void>;
}

/** A request on the back-end channel failed. */
export class BackendChannelError extends Error {
  override readonly name = "BackendChannelError";
}

/** Our end of a session's back-end channel. */
export class BackendChannel {
  #waiting: Waiting[] = [];
  #closed = false;
  #overdue = false;
  #timer: Timer | undefined;

  constructor(readonly frontEnd: FrontEnd, readonly clock: Clock) {}

  /** Has the front-end not answered for a while? */
  get overdue(): boolean {
    return this.#overdue;
  }

  /**
   * Map a file into the VM's window. All numbers in bytes, multiples of the page size.
   *
   * It takes as long as the front-end does. The mapping is not in the guest yet when this resolves: see docs/virtio-circuit.md, section 4.
   *
   * @throws {BackendChannelError}
   */
  map(fd: number, fileOffset: bigint, windowOffset: bigint, length: bigint): Promise<void> {
    return this.#request(BackendRequest.SHMEM_MAP, fileOffset, windowOffset, length, 1n, fd);
  }

  /**
   * Unmap exactly what was mapped. It takes as long as the front-end does.
   *
   * @throws {BackendChannelError}
   */
  unmap(windowOffset: bigint, length: bigint): Promise<void> {
    return this.#request(BackendRequest.SHMEM_UNMAP, 0n, windowOffset, length, 0n, -1);
  }

  /** Resolves when all requests are answered, or the channel is over; undefined when none is under way. It never rejects. */
  answered(): Promise<void> | undefined {
    return this.#waiting.at(-1)?.answered;
  }

  /** A message came in on the channel. @throws {ProtocolError} */
  message(request: number, flags: number, payload: Uint8Array): void {
    const waiting = this.#waiting.shift();
    if (!waiting) throw new ProtocolError(`reply to request ${request} on the back-end channel, which was not made`);
    this.#answered();
    if (request !== waiting.request || !(flags & Flag.REPLY) || payload.length !== 8) {
      waiting.reject(new BackendChannelError("wrong reply on the back-end channel"));
      throw new ProtocolError(
        `reply on the back-end channel does not fit: request ${request}, flags ${flags}, ${payload.length} bytes`,
      );
    }
    if (decodeU64(payload) !== 0n) waiting.reject(new BackendChannelError("the front-end refused a mapping"));
    else waiting.resolve();
  }

  /** The channel is over: all that wait are rejected. */
  close(): void {
    this.#closed = true;
    this.#answered();
    for (const waiting of this.#waiting.splice(0)) {
      waiting.reject(new BackendChannelError("the back-end channel was closed"));
    }
  }

  /** The front-end goes on, or nothing more is expected of it. */
  #answered(): void {
    if (this.#overdue && !this.#closed) log.info("a front-end answers again on its back-end channel");
    this.#overdue = false;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#waiting.length > 0 && !this.#closed) this.#watch();
  }

  /** Look after a while whether the front-end has answered. */
  #watch(): void {
    this.#timer ??= this.clock.after(REPLY_MS, () => {
      this.#overdue = true;
      log.warn("a front-end has not answered on its back-end channel for {ms} ms: it is waited for", { ms: REPLY_MS });
    });
  }

  #request(
    request: number,
    fileOffset: bigint,
    windowOffset: bigint,
    length: bigint,
    flags: bigint,
    fd: number,
  ): Promise<void> {
    const payload = new Uint8Array(PAYLOAD);
    const view = new DataView(payload.buffer);
    view.setBigUint64(8, fileOffset, true);
    view.setBigUint64(16, windowOffset, true);
    view.setBigUint64(24, length, true);
    view.setBigUint64(32, flags, true);
    if (this.#closed || !this.frontEnd.sendBackend(encodeMessage(request, Flag.NEED_REPLY, payload), fd)) {
      return Promise.reject(new BackendChannelError("there is no back-end channel"));
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ request, resolve, reject, answered: promise.catch(() => {}) });
    this.#watch();
    return promise;
  }
}
