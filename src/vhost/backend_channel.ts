/**
 * The back-end channel: our requests to the front-end, SHMEM_MAP and SHMEM_UNMAP. Replies come in the order of the
 * requests; each request is given a time to be answered in.
 *
 * @module
 */

import { BackendRequest, decodeU64, encodeMessage, Flag, ProtocolError } from "./protocol.ts";
import type { FrontEnd } from "./transport.ts";

const REPLY_MS = 10_000;
const PAYLOAD = 40;

interface Waiting {
  readonly request: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  readonly timer: ReturnType<typeof setTimeout> | undefined;
}

/** A request on the back-end channel failed. */
export class BackendChannelError extends Error {
  override readonly name = "BackendChannelError";
}

/** Our end of a session's back-end channel. */
export class BackendChannel {
  #waiting: Waiting[] = [];
  #closed = false;

  constructor(readonly frontEnd: FrontEnd) {}

  /**
   * Map a file into the VM's window. All numbers in bytes, multiples of the page size.
   *
   * The mapping is not in the guest yet when this resolves: see docs/virtio-circuit.md, section 4.
   *
   * @throws {BackendChannelError}
   */
  map(fd: number, fileOffset: bigint, windowOffset: bigint, length: bigint): Promise<void> {
    return this.#request(BackendRequest.SHMEM_MAP, fileOffset, windowOffset, length, 1n, fd, REPLY_MS);
  }

  /**
   * Unmap exactly what was mapped. It may take as long as the front-end is paused.
   *
   * @throws {BackendChannelError}
   */
  unmap(windowOffset: bigint, length: bigint): Promise<void> {
    return this.#request(BackendRequest.SHMEM_UNMAP, 0n, windowOffset, length, 0n, -1, undefined);
  }

  /** A message came in on the channel. @throws {ProtocolError} */
  message(request: number, flags: number, payload: Uint8Array): void {
    const waiting = this.#waiting.shift();
    if (!waiting) throw new ProtocolError(`reply to request ${request} on the back-end channel, which was not made`);
    clearTimeout(waiting.timer);
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
    for (const waiting of this.#waiting.splice(0)) {
      clearTimeout(waiting.timer);
      waiting.reject(new BackendChannelError("the back-end channel was closed"));
    }
  }

  #request(
    request: number,
    fileOffset: bigint,
    windowOffset: bigint,
    length: bigint,
    flags: bigint,
    fd: number,
    limitMs: number | undefined,
  ): Promise<void> {
    const payload = new Uint8Array(PAYLOAD);
    const view = new DataView(payload.buffer);
    view.setBigUint64(8, fileOffset, true);
    view.setBigUint64(16, windowOffset, true);
    view.setBigUint64(24, length, true);
    view.setBigUint64(32, flags, true);
    return new Promise((resolve, reject) => {
      if (this.#closed || !this.frontEnd.sendBackend(encodeMessage(request, Flag.NEED_REPLY, payload), fd)) {
        reject(new BackendChannelError("there is no back-end channel"));
        return;
      }
      const timer = limitMs === undefined ? undefined : setTimeout(() => {
        this.close();
        reject(new BackendChannelError(`no reply on the back-end channel within ${limitMs} ms`));
      }, limitMs);
      this.#waiting.push({ request, resolve, reject, timer });
    });
  }
}
