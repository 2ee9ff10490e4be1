/**
 * The host's stack, by the helper library.
 *
 * @module
 */

import type {
  HostArena,
  HostCircuit,
  HostCircuitHandler,
  HostCircuitSetup,
  HostConnection,
  HostConnectionHandler,
  HostDatagram,
  HostDatagramHandler,
  HostListener,
  HostStack,
} from "../circuit/host.ts";
import type { ArenaMemory, Device } from "../circuit/plane.ts";
import { checked } from "../errno.ts";
import { addressOf, type Endpoint, formatEndpoint } from "../net/address.ts";
import { Layout } from "./abi.ts";
import { PlaneDevice } from "./device.ts";
import type { PlaneEvent } from "./events.ts";
import type { Library } from "./library.ts";

const Address = Layout.host_address;
const Setup = Layout.host_setup;
const Permit = Layout.host_permit;
const Moved = Layout.host_moved;

function putAddress(bytes: Uint8Array, at: number, { address, port }: Endpoint): void {
  const view = new DataView(bytes.buffer);
  view.setUint32(at + Address.family, address.family, true);
  view.setUint32(at + Address.port, port, true);
  bytes.set(address.bytes, at + Address.ip);
}

/** Decode a `csvn_host_address`. */
export function decodeHostAddress(bytes: Uint8Array): Endpoint {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const length = view.getUint32(Address.family, true) === 4 ? 4 : 16;
  return {
    address: addressOf(bytes.slice(Address.ip, Address.ip + length)),
    port: view.getUint32(Address.port, true),
  };
}

/** A `csvn_host_setup`. @param to An address, or a connection; -1: neither. */
function encodeSetup(
  { device, id, arena, extents, options }: HostCircuitSetup,
  to: Endpoint | number,
): Uint8Array<ArrayBuffer> {
  if (!(device instanceof PlaneDevice) || !(arena instanceof Arena)) throw new TypeError("not of this plane");
  const bytes = new Uint8Array(Setup.size);
  const view = new DataView(bytes.buffer);
  view.setInt32(Setup.device, device.handle, true);
  view.setUint32(Setup.id, id, true);
  view.setInt32(Setup.arena, arena.handle, true);
  view.setUint32(Setup.ring_size, extents.ringSize, true);
  view.setBigUint64(Setup.own_control, BigInt(extents.ownControl), true);
  view.setBigUint64(Setup.peer_control, BigInt(extents.peerControl), true);
  view.setBigUint64(Setup.tx_ring, BigInt(extents.txRing), true);
  view.setBigUint64(Setup.rx_ring, BigInt(extents.rxRing), true);
  view.setInt32(Setup.connection, typeof to === "number" ? to : -1, true);
  if (typeof to !== "number") putAddress(bytes, Setup.remote, to);
  if (options) bytes.set(options, Setup.options);
  return bytes;
}

class Arena implements HostArena {
  constructor(readonly stack: PlaneHostStack, readonly handle: number) {}

  [Symbol.dispose](): void {
    checked("unmap an arena", this.stack.symbols.csvn_host_arena_unmap(this.stack.plane, this.handle));
  }
}

class Connection implements HostConnection {
  #handle: number;

  constructor(readonly stack: PlaneHostStack, handle: number, readonly remote: Endpoint) {
    this.#handle = handle;
  }

  release(): number {
    const handle = this.#handle;
    this.#handle = -1;
    this.stack.waiting.delete(handle);
    return handle;
  }

  refuse(): void {
    if (this.#handle >= 0) this.stack.symbols.csvn_host_refuse(this.stack.plane, this.release());
  }

  wait(handler: HostConnectionHandler): void {
    const rc = this.stack.symbols.csvn_host_wait(this.stack.plane, this.#handle);
    if (rc < 0) queueMicrotask(() => handler.gone());
    else this.stack.waiting.set(this.#handle, handler);
  }
}

/** The host's stack of a plane. */
export class PlaneHostStack implements HostStack {
  readonly symbols: Library["symbols"];
  readonly #circuits = new Map<number, HostCircuitHandler>();
  readonly #datagrams = new Map<number, HostDatagramHandler>();
  /** Of connections that wait. */
  readonly waiting = new Map<number, HostConnectionHandler>();
  readonly #listeners = new Map<number, (connection: HostConnection) => void>();

  /** @param plane The plane's handle. */
  constructor(readonly library: Library, readonly plane: number) {
    this.symbols = library.symbols;
  }

  mapArena(_device: Device, memory: ArenaMemory): Promise<HostArena> {
    return Promise.try(() => {
      const rc = this.symbols.csvn_host_arena_map(this.plane, memory.fd, BigInt(memory.length));
      return new Arena(this, checked("map an arena", rc));
    });
  }

  open(setup: HostCircuitSetup, to: Endpoint | HostConnection, handler: HostCircuitHandler): HostCircuit {
    const bytes = encodeSetup(setup, to instanceof Connection ? to.release() : to as Endpoint);
    const circuit = this.symbols.csvn_host_open(this.plane, bytes);
    let closed = false;
    if (circuit < 0) {
      queueMicrotask(() => !closed && handler.connected(-circuit));
      return { finish: () => {}, setOptions: () => {}, close: () => Promise.resolve(void (closed = true)) };
    }
    if (to instanceof Connection) queueMicrotask(() => !closed && handler.connected(0));
    this.#circuits.set(circuit, handler);
    return {
      finish: () => void this.symbols.csvn_host_finish(this.plane, circuit),
      setOptions: (options) => void this.symbols.csvn_host_options(this.plane, circuit, options, options.length),
      close: () => {
        closed = true;
        this.#circuits.delete(circuit);
        this.symbols.csvn_host_close(this.plane, circuit);
        return Promise.resolve();
      },
    };
  }

  openDatagram(setup: HostCircuitSetup, bind: Endpoint | undefined, handler: HostDatagramHandler): HostDatagram {
    const circuit = this.symbols.csvn_host_datagram_open(this.plane, encodeSetup(setup, bind ?? -1));
    let closed = false;
    queueMicrotask(() => !closed && handler.opened(circuit < 0 ? -circuit : 0));
    if (circuit >= 0) this.#datagrams.set(circuit, handler);
    const close = (): Promise<void> => {
      closed = true;
      this.#datagrams.delete(circuit);
      this.symbols.csvn_host_datagram_close(this.plane, circuit);
      return Promise.resolve();
    };
    return {
      permit: (guest, actual, allowed, errno) => {
        const bytes = new Uint8Array(Permit.size);
        putAddress(bytes, Permit.guest, guest);
        putAddress(bytes, Permit.actual, actual);
        const view = new DataView(bytes.buffer);
        view.setUint32(Permit.allowed, allowed ? 1 : 0, true);
        view.setUint32(Permit.error, errno, true);
        const rc = this.symbols.csvn_host_datagram_permit(this.plane, circuit, bytes);
        // What cannot be permitted, or forbidden, by itself ends with all the others.
        if (rc < 0) queueMicrotask(() => this.#datagrams.get(circuit)?.done(0n, 0n, -rc));
      },
      forget: (guest) => {
        const bytes = new Uint8Array(Address.size);
        putAddress(bytes, 0, guest);
        this.symbols.csvn_host_datagram_forget(this.plane, circuit, bytes);
      },
      moved: (guest) => {
        const bytes = new Uint8Array(Address.size);
        putAddress(bytes, 0, guest);
        const moved = new Uint8Array(Moved.size);
        this.symbols.csvn_host_datagram_moved(this.plane, circuit, bytes, moved);
        const view = new DataView(moved.buffer);
        return { sent: view.getBigUint64(Moved.sent, true), received: view.getBigUint64(Moved.received, true) };
      },
      finish: () => void this.symbols.csvn_host_datagram_finish(this.plane, circuit),
      // What a datagram is sent with is in its frame.
      setOptions: () => {},
      close,
    };
  }

  listen(_device: Device, local: Endpoint, accept: (connection: HostConnection) => void): Promise<HostListener> {
    return Promise.try(() => {
      const bytes = new Uint8Array(Address.size);
      putAddress(bytes, 0, local);
      const what = `listen on ${formatEndpoint(local)}`;
      const listener = checked(what, this.symbols.csvn_host_listen(this.plane, bytes));
      this.#listeners.set(listener, accept);
      return {
        port: checked(what, this.symbols.csvn_host_listener_port(this.plane, listener)),
        [Symbol.dispose]: () => {
          this.#listeners.delete(listener);
          this.symbols.csvn_host_unlisten(this.plane, listener);
        },
      };
    });
  }

  /** An event of the plane that is about the host's stack. */
  event(event: Extract<PlaneEvent, { kind: `host-${string}` }>): void {
    switch (event.kind) {
      case "host-connected":
        return this.#circuits.get(event.circuit)?.connected(event.errno);
      case "host-done":
        return this.#circuits.get(event.circuit)?.done(event.sent, event.received, event.errno);
      case "host-datagram-done":
        return this.#datagrams.get(event.circuit)?.done(event.sent, event.received, event.errno);
      case "host-source":
        return this.#datagrams.get(event.circuit)?.source(decodeHostAddress(event.address));
      case "host-gone":
        return this.waiting.get(event.connection)?.gone();
      case "host-accepted": {
        const connection = new Connection(this, event.connection, decodeHostAddress(event.remote));
        const accept = this.#listeners.get(event.listener);
        if (accept) accept(connection);
        else connection.refuse();
        return;
      }
    }
  }
}
