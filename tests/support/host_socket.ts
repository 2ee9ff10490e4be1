/**
 * A datagram socket on the host, on a loopback address of the test's own.
 *
 * @module
 */

import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { Buffer } from "node:buffer";

/** A datagram socket on the host. */
export class HostSocket implements AsyncDisposable {
  readonly got: { payload: Uint8Array; from: RemoteInfo }[] = [];
  private constructor(readonly socket: Socket, readonly address: string, readonly port: number) {}

  /** Bind one. @param echo Send back whatever comes. */
  static async bind(address: string, echo = false): Promise<HostSocket> {
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, address, resolve));
    const made = new HostSocket(socket, address, socket.address().port);
    socket.on("message", (payload, from) => {
      made.got.push({ payload: Uint8Array.from(payload), from });
      if (echo) socket.send(payload, from.port, from.address);
    });
    return made;
  }

  /** Send a datagram to a port of the same address. */
  send(payload: Uint8Array, port: number): void {
    this.socket.send(Buffer.from(payload), port, this.address);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.socket.close(() => resolve()));
  }
}
