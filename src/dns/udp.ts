/**
 * A UDP socket, without the events of `node:dgram`.
 *
 * @module
 */

import { createSocket, type Socket } from "node:dgram";
import { type Address, type Endpoint, parseAddress } from "../net/address.ts";

/** Called for each datagram. */
export type OnDatagram = (bytes: Uint8Array, from: Endpoint) => void;

/** A bound UDP socket. */
export class UdpSocket implements AsyncDisposable {
  readonly #socket: Socket;
  #closed: Promise<void> | undefined;
  readonly local: Endpoint;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const { address, port } = socket.address();
    this.local = { address: parseAddress(address), port };
  }

  /**
   * Bind a socket to an address.
   *
   * @param port Default: one that the system chooses.
   * @throws {Error} of the system.
   */
  static async open(address: Address, onDatagram: OnDatagram, port = 0): Promise<UdpSocket> {
    const type = address.family === 4 ? "udp4" : "udp6";
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // Only addresses come here; nothing is to be looked up.
    const lookup = (host: string, _options: unknown, done: (...result: [null, string, number]) => void): void =>
      done(null, host, address.family);
    const socket = createSocket({ type, lookup });
    socket.on("error", reject);
    socket.on("message", (bytes: Uint8Array, from: { address: string; port: number }) => {
      const source = sourceOf(from);
      if (source) onDatagram(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), source);
    });
    socket.bind(port, address.text, () => resolve());
    try {
      await promise;
      return new UdpSocket(socket);
    } catch (error) {
      await close(socket);
      throw error;
    }
  }

  /**
   * Send a datagram.
   *
   * @throws {Error} of the system.
   */
  async send(bytes: Uint8Array, { address, port }: Endpoint): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#socket.send(bytes, port, address.text, (error: Error | null) => error ? reject(error) : resolve());
    await promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#closed ??= close(this.#socket);
  }
}

function close(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.close(() => resolve());
  return promise;
}

function sourceOf({ address, port }: { address: string; port: number }): Endpoint | undefined {
  try {
    // A link-local one comes with its zone.
    return { address: parseAddress(address.split("%")[0]!), port };
  } catch {
    return undefined;
  }
}
