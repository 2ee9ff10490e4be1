/**
 * The host's stack, by ports: each VM's host ends are its port's.
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
import { Errno } from "../errno.ts";
import { addressOf, type Endpoint, formatEndpoint } from "../net/address.ts";
import { CIRCUITS_MAX, Command, Layout, MOVED_MAX, Revocable } from "./abi.ts";
import { PlaneDevice } from "./device.ts";
import { Places } from "./places.ts";
import type { PortEvent } from "./events.ts";
import type { Port } from "./port.ts";

const Address = Layout.host_address;
const Setup = Layout.host_setup;
const Permit = Layout.host_permit;

function putAddress(bytes: Uint8Array, at: number, { address, port }: Endpoint): void {
  const view = new DataView(bytes.buffer);
  view.setUint32(at + Address.family, address.family, true);
  view.setUint32(at + Address.port, port, true);
  bytes.set(address.bytes, at + Address.ip);
}

function encodeAddress(endpoint: Endpoint): Uint8Array {
  const bytes = new Uint8Array(Address.size);
  putAddress(bytes, 0, endpoint);
  return bytes;
}

/** Decode a `csvn_host_address`. */
export function decodeHostAddress(bytes: Uint8Array): Endpoint {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const length = view.getUint32(Address.family, true) === 4 ? 4 : 16;
  return {
    address: addressOf(bytes.slice(Address.ip, Address.ip + length)),
    port: view.getUint32(Address.port, true) & 0xffff,
  };
}

/** A `csvn_host_setup`. @param to An address, or a connection; -1: neither. */
function encodeSetup({ id, arena, extents, options }: HostCircuitSetup, to: Endpoint | number): Uint8Array {
  if (!(arena instanceof Arena)) throw new TypeError("not of this plane");
  const bytes = new Uint8Array(Setup.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(Setup.id, id, true);
  view.setInt32(Setup.arena, arena.number, true);
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

/** What a port has of the host's stack, by its numbers. */
class PortHost {
  readonly arenas = new Places(1 << 16);
  readonly circuits = new Places(CIRCUITS_MAX);
  readonly listeners = new Places(1 << 10);
  readonly permits = new Places(MOVED_MAX);
  readonly streams = new Map<number, HostCircuitHandler>();
  readonly datagrams = new Map<number, HostDatagramHandler>();
  readonly accepts = new Map<number, (connection: HostConnection) => void>();
  /** Connections that wait. */
  readonly waiting = new Map<number, HostConnectionHandler>();
}

class Arena implements HostArena {
  constructor(readonly port: Port, readonly number: number, readonly left: () => void) {}

  [Symbol.dispose](): void {
    this.port.afterwards(this.left, Command.UNARENA, this.number);
  }
}

class Connection implements HostConnection {
  #number: number;

  constructor(readonly port: Port, readonly host: PortHost, number: number, readonly remote: Endpoint) {
    this.#number = number;
  }

  release(): number {
    const number = this.#number;
    this.#number = -1;
    this.host.waiting.delete(number);
    return number;
  }

  refuse(): void {
    if (this.#number >= 0) this.port.command(Command.REFUSE, this.release());
  }

  wait(handler: HostConnectionHandler): void {
    if (this.#number < 0) return;
    this.host.waiting.set(this.#number, handler);
    this.port.command(Command.WAIT, this.#number);
  }
}

/** The host's end of a datagram circuit. */
class Datagram implements HostDatagram {
  /** Numbers of permits, and what had passed when that was asked last. */
  readonly #permits = new Map<string, { readonly number: number; sent: bigint; received: bigint }>();
  readonly #moved = new BigUint64Array(2);

  constructor(
    readonly port: Port,
    readonly host: PortHost,
    readonly number: number,
    readonly closeIt: () => Promise<void>,
  ) {}

  permit(guest: Endpoint, actual: Endpoint, allowed: boolean, errno: number): void {
    const key = formatEndpoint(guest);
    let permit = this.#permits.get(key);
    if (!permit) {
      const number = this.host.permits.take();
      if (number === undefined) return this.#fail(Errno.ENOBUFS);
      const [sent, received] = this.#read(number);
      this.#permits.set(key, permit = { number, sent, received });
    }
    const bytes = new Uint8Array(Permit.size);
    putAddress(bytes, Permit.guest, guest);
    putAddress(bytes, Permit.actual, actual);
    const view = new DataView(bytes.buffer);
    view.setUint32(Permit.allowed, allowed ? 1 : 0, true);
    view.setUint32(Permit.error, errno, true);
    view.setUint32(Permit.number, permit.number, true);
    this.port.revoke(Revocable.PERMIT, permit.number, !allowed);
    // What cannot be permitted, or forbidden, by itself ends with all the others.
    this.port.ask("permit an address", Command.DATAGRAM_PERMIT, this.number, 0, bytes)
      .catch(({ errno }) => this.#fail(errno));
  }

  forget(guest: Endpoint): void {
    const permit = this.#take(guest);
    if (!permit) return;
    const then = () => this.host.permits.give(permit.number);
    this.port.afterwards(then, Command.DATAGRAM_FORGET, this.number, 0, encodeAddress(guest));
  }

  moved(guest: Endpoint): { readonly sent: bigint; readonly received: bigint } {
    const permit = this.#permits.get(formatEndpoint(guest));
    if (!permit) return { sent: 0n, received: 0n };
    const [sent, received] = this.#read(permit.number);
    const moved = { sent: sent - permit.sent, received: received - permit.received };
    permit.sent = sent;
    permit.received = received;
    return moved;
  }

  finish(): void {
    this.port.command(Command.HOST_FINISH, this.number);
  }

  /** What a datagram is sent with is in its frame. */
  setOptions(): void {}

  async close(): Promise<void> {
    const permits = [...this.#permits.values()];
    this.#permits.clear();
    await this.closeIt();
    for (const { number } of permits) this.host.permits.give(number);
  }

  #take(guest: Endpoint): { readonly number: number } | undefined {
    const key = formatEndpoint(guest);
    const permit = this.#permits.get(key);
    this.#permits.delete(key);
    return permit;
  }

  #read(number: number): [bigint, bigint] {
    this.port.symbols.csvn_port_moved(
      this.port.context.plane,
      this.port.handle,
      number,
      new Uint8Array(this.#moved.buffer),
    );
    return [this.#moved[0]!, this.#moved[1]!];
  }

  #fail(errno: number): void {
    queueMicrotask(() => this.host.datagrams.get(this.number)?.done(0n, 0n, errno));
  }
}

/** The host's stack of a plane. */
export class PlaneHostStack implements HostStack {
  readonly #ports = new Map<Port, PortHost>();

  async mapArena(device: Device, memory: ArenaMemory): Promise<HostArena> {
    const { port, host } = this.#of(device);
    const number = host.arenas.take()!;
    const { file, given } = port.give(memory.fd);
    const bytes = new Uint8Array(BigUint64Array.of(BigInt(memory.length)).buffer);
    const mapped = port.ask("map an arena", Command.ARENA, number, file, bytes);
    port.command(Command.FILE_CLOSE, file);
    await given;
    try {
      await mapped;
    } catch (error) {
      host.arenas.give(number);
      throw error;
    }
    return new Arena(port, number, () => host.arenas.give(number));
  }

  open(setup: HostCircuitSetup, to: Endpoint | HostConnection, handler: HostCircuitHandler): HostCircuit {
    const { port, host } = this.#of(setup.device);
    const bytes = encodeSetup(setup, to instanceof Connection ? to.release() : to as Endpoint);
    const number = host.circuits.take()!;
    port.revoke(Revocable.CIRCUIT, number, false);
    host.streams.set(number, handler);
    port.command(Command.HOST_OPEN, number, 0, bytes);
    return {
      finish: () => void port.command(Command.HOST_FINISH, number),
      setOptions: (options) => void port.command(Command.HOST_OPTIONS, number, 0, options),
      close: () => this.#close(port, host, number),
    };
  }

  openDatagram(setup: HostCircuitSetup, bind: Endpoint | undefined, handler: HostDatagramHandler): HostDatagram {
    const { port, host } = this.#of(setup.device);
    const number = host.circuits.take()!;
    port.revoke(Revocable.CIRCUIT, number, false);
    host.datagrams.set(number, handler);
    port.command(Command.DATAGRAM_OPEN, number, 0, encodeSetup(setup, bind ?? -1));
    return new Datagram(port, host, number, () => this.#close(port, host, number));
  }

  async listen(device: Device, local: Endpoint, accept: (connection: HostConnection) => void): Promise<HostListener> {
    const { port, host } = this.#of(device);
    const number = host.listeners.take()!;
    host.accepts.set(number, accept);
    const left = (): void => {
      host.accepts.delete(number);
      host.listeners.give(number);
    };
    try {
      const bound = await port.ask(
        `listen on ${formatEndpoint(local)}`,
        Command.LISTEN,
        number,
        0,
        encodeAddress(local),
      );
      return {
        port: bound,
        [Symbol.dispose]: () => {
          host.accepts.delete(number);
          port.afterwards(left, Command.UNLISTEN, number);
        },
      };
    } catch (error) {
      left();
      throw error;
    }
  }

  /** A port is gone. */
  portGone(port: Port): void {
    this.#ports.delete(port);
  }

  /** An event of a port that is about the host's stack. */
  event(port: Port, event: Extract<PortEvent, { kind: `host-${string}` }>): void {
    const host = this.#hostOf(port);
    switch (event.kind) {
      case "host-connected":
        host.streams.get(event.circuit)?.connected(event.errno);
        host.datagrams.get(event.circuit)?.opened(event.errno);
        return;
      case "host-done":
        host.streams.get(event.circuit)?.done(event.sent, event.received, event.errno);
        host.datagrams.get(event.circuit)?.done(event.sent, event.received, event.errno);
        return;
      case "host-source":
        return host.datagrams.get(event.circuit)?.source(decodeHostAddress(event.address));
      case "host-gone":
        return host.waiting.get(event.connection)?.gone();
      case "host-accepted": {
        const connection = new Connection(port, host, event.connection, decodeHostAddress(event.remote));
        const accept = host.accepts.get(event.listener);
        if (accept) accept(connection);
        else connection.refuse();
        return;
      }
    }
  }

  async #close(port: Port, host: PortHost, number: number): Promise<void> {
    host.streams.delete(number);
    host.datagrams.delete(number);
    // Nothing more passes, also where the port takes its time.
    port.revoke(Revocable.CIRCUIT, number, true);
    await port.acknowledged(Command.HOST_CLOSE, number);
    host.circuits.give(number);
  }

  #of(device: Device): { port: Port; host: PortHost } {
    if (!(device instanceof PlaneDevice)) throw new TypeError("not of this plane");
    return { port: device.port, host: this.#hostOf(device.port) };
  }

  #hostOf(port: Port): PortHost {
    let host = this.#ports.get(port);
    if (!host) this.#ports.set(port, host = new PortHost());
    return host;
  }
}
