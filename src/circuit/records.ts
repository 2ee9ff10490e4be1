/**
 * The codec of the records on a device's queues: the TypeScript side of `lib/include/csvn/records.h`. All fields are
 * little-endian; a test compares sizes, offsets and numbers with the C header.
 *
 * @module
 */

import { type Address, addressOf, type Endpoint } from "../net/address.ts";

/** Version of the configuration space and of every record. */
export const VERSION = 2;
/** `CSVN` at the beginning of the configuration space. */
export const MAGIC = 0x4e565343;
/** Bytes that a record may have. */
export const RECORD_MAX = 192;
/** Bytes of the configuration space. */
export const CONFIG_BYTES = 128;
/** Bytes of a VM's name. */
export const NAME_MAX = 63;

/** Queues, by name. */
export const Queue = { CONTROL: 0, EVENT: 1, DOORBELL: 2, WAKE: 3 } as const;
/** How many queues a device has. */
export const QUEUES = 4;

/** Request types, by name. */
export const RequestType = {
  HELLO: 1,
  BYE: 2,
  LISTEN: 3,
  UNLISTEN: 4,
  CREDIT: 5,
  CONNECT: 6,
  CANCEL: 7,
  CLOSE: 8,
  ARENA_PREPARED: 9,
  ARENA_VISIBLE: 10,
  ARENA_RETIRED: 11,
  PING: 12,
  OPTIONS: 13,
} as const;

/** Event types, by name. */
export const EventType = {
  INCOMING: 1,
  RESET: 2,
  ARENA_PREPARE: 3,
  ARENA_MAPPED: 4,
  ARENA_RETIRE: 5,
} as const;

/** Feature bits. */
export const FEATURE_STREAM = 1n;
/** Circuits to the host's stack. */
export const FEATURE_HOST = 2n;
/** Datagram circuits. */
export const FEATURE_DATAGRAM = 4n;
/** All features that this switch offers. */
export const FEATURES: bigint = FEATURE_STREAM | FEATURE_HOST | FEATURE_DATAGRAM;
/** LISTEN: an IPv6 listener that takes no IPv4 connections. */
export const LISTEN_V6ONLY = 1;
/** CLOSE: the peer broke an invariant of the ring. */
export const CLOSE_VIOLATION = 1;
/** LISTEN and CONNECT: a stream circuit. */
export const PROTOCOL_STREAM = 6;
/** LISTEN and CONNECT: a datagram circuit. */
export const PROTOCOL_DATAGRAM = 17;
/** Response to CONNECT, and INCOMING: the circuit leads to the host's stack. */
export const CONNECT_HOST = 1;
/** CONNECT and OPTIONS: what a socket's options may tell. */
export const Option = {
  KEEPALIVE: 0x1,
  KEEP_TIMES: 0x2,
  USER_TIMEOUT: 0x4,
  SYN_COUNT: 0x8,
  SERVICE: 0x10,
  HOPS: 0x20,
  SEND_BUFFER: 0x40,
  RECEIVE_BUFFER: 0x80,
  CONGESTION: 0x100,
} as const;
/** All of them. */
const OPTIONS = Object.values(Option).reduce((all, bit) => all | bit, 0);
/** Bytes of the name of a congestion control algorithm, the terminating zero included. */
export const CONGESTION_MAX = 16;

/** Offsets and sizes of the structures, in bytes; the names are those of records.h without their prefix. */
export const Layout = {
  header: { size: 16, type: 0, version: 2, length: 4, token: 8 },
  endpoint: { size: 24, family: 0, port: 2, scope: 4, ip: 8 },
  extents: { size: 40, arena: 0, ring_size: 4, own_control: 8, peer_control: 16, tx_ring: 24, rx_ring: 32 },
  response: { size: 24, error: 16 },
  hello: { size: 56, features: 16, driver: 24 },
  identity: { size: 112, ipv4: 0, gateway4: 4, prefix4: 8, prefix6: 9, ipv6: 16, gateway6: 32, name: 48 },
  hello_response: {
    size: 160,
    features: 24,
    ring_size: 32,
    max_circuits: 36,
    max_listeners: 40,
    magic: 44,
    identity: 48,
  },
  listen: { size: 56, local: 16, listener: 40, backlog: 44, flags: 48, protocol: 52 },
  unlisten: { size: 24, listener: 16 },
  credit: { size: 24, listener: 16, count: 20 },
  options: {
    size: 52,
    set: 0,
    keep_idle: 4,
    keep_interval: 8,
    keep_count: 12,
    user_timeout: 16,
    syn_count: 20,
    send_buffer: 24,
    receive_buffer: 28,
    keepalive: 32,
    service: 33,
    hops: 34,
    congestion: 36,
  },
  connect: { size: 120, local: 16, remote: 40, protocol: 64, options: 68 },
  set_options: { size: 72, circuit: 16, options: 20 },
  connect_response: { size: 96, circuit: 24, flags: 28, extents: 32, local: 72 },
  cancel: { size: 24, connect: 16 },
  close: { size: 40, circuit: 16, flags: 20, sent: 24, received: 32 },
  arena_request: { size: 24, arena: 16, error: 20 },
  incoming: { size: 120, listener: 16, circuit: 20, extents: 24, remote: 64, local: 88, flags: 112 },
  reset: { size: 24, circuit: 16, error: 20 },
  arena_event: { size: 48, arena: 16, offset: 24, length: 32, nonce: 40 },
  config: {
    size: CONFIG_BYTES,
    magic: 0,
    version: 4,
    size_field: 6,
    features: 8,
    identity: 16,
  },
  datagram: { size: 32, size_field: 0, family: 4, port: 6, scope: 8, error: 12, ip: 16 },
  arena_header: { size: 32, magic: 0, nonce: 8, length: 16, ring_size: 24 },
} as const;

/** The bytes at the beginning of every arena: "CSVNAREN". */
export const ARENA_MAGIC = 0x4e4552414e565343n;

/** Where a circuit lies, for one of its ends; in bytes from the arena's beginning. */
export interface Extents {
  readonly arena: number;
  readonly ringSize: number;
  readonly ownControl: number;
  readonly peerControl: number;
  readonly txRing: number;
  readonly rxRing: number;
}

/** A `csvn_options`, as the driver sent it: the host's stack takes what it can of it. */
export type SocketOptions = Uint8Array<ArrayBuffer>;

/** A request of a driver, decoded. */
export type ControlRequest =
  | { type: "HELLO"; features: bigint; driver: string }
  | { type: "BYE" }
  | { type: "PING" }
  | { type: "LISTEN"; local: Endpoint; listener: number; backlog: number; v6only: boolean; protocol: number }
  | { type: "UNLISTEN"; listener: number }
  | { type: "CREDIT"; listener: number; count: number }
  | { type: "CONNECT"; local: Endpoint; remote: Endpoint; protocol: number; options: SocketOptions | undefined }
  | { type: "OPTIONS"; circuit: number; options: SocketOptions | undefined }
  | { type: "CANCEL"; connect: bigint }
  | { type: "CLOSE"; circuit: number; violation: boolean; sent: bigint; received: bigint }
  | { type: "ARENA_PREPARED" | "ARENA_VISIBLE" | "ARENA_RETIRED"; arena: number; error: number };

/** What every record begins with. */
export interface Header {
  readonly type: number;
  readonly version: number;
  readonly length: number;
  readonly token: bigint;
}

/** A record that cannot be decoded: the errno for its sender, and what was wrong. */
export class RecordError extends Error {
  override readonly name = "RecordError";
  constructor(readonly errno: "EINVAL" | "EOPNOTSUPP" | "EAFNOSUPPORT", message: string) {
    super(message);
  }
}

const names = new Map<number, keyof typeof RequestType>(
  (Object.entries(RequestType) as [keyof typeof RequestType, number][]).map(([name, type]) => [type, name]),
);

const sizes: Record<keyof typeof RequestType, number> = {
  HELLO: Layout.hello.size,
  BYE: Layout.header.size,
  LISTEN: Layout.listen.size,
  UNLISTEN: Layout.unlisten.size,
  CREDIT: Layout.credit.size,
  CONNECT: Layout.connect.size,
  CANCEL: Layout.cancel.size,
  CLOSE: Layout.close.size,
  ARENA_PREPARED: Layout.arena_request.size,
  ARENA_VISIBLE: Layout.arena_request.size,
  ARENA_RETIRED: Layout.arena_request.size,
  PING: Layout.header.size,
  OPTIONS: Layout.set_options.size,
};

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Decode a record's header; what is missing reads as zero. */
export function decodeHeader(bytes: Uint8Array): Header {
  let whole = bytes;
  if (bytes.length < Layout.header.size) {
    whole = new Uint8Array(Layout.header.size);
    whole.set(bytes);
  }
  const view = viewOf(whole);
  return {
    type: view.getUint16(Layout.header.type, true),
    version: view.getUint16(Layout.header.version, true),
    length: view.getUint32(Layout.header.length, true),
    token: view.getBigUint64(Layout.header.token, true),
  };
}

function decodeEndpoint(view: DataView, at: number, what: string): Endpoint {
  const family = view.getUint16(at + Layout.endpoint.family, true);
  if (family !== 4 && family !== 6) throw new RecordError("EAFNOSUPPORT", `${what}: address family ${family}`);
  const ip = new Uint8Array(view.buffer, view.byteOffset + at + Layout.endpoint.ip, 16);
  for (let i = 4; family === 4 && i < 16; i++) {
    if (ip[i] !== 0) throw new RecordError("EINVAL", `${what}: bytes behind an IPv4 address`);
  }
  return {
    address: addressOf(family === 4 ? ip.subarray(0, 4) : ip),
    port: view.getUint16(at + Layout.endpoint.port, true),
  };
}

/** A copy of a socket's options; undefined: none is told. */
function decodeOptions(view: DataView, at: number, what: string): SocketOptions | undefined {
  const set = view.getUint32(at + Layout.options.set, true);
  if (set === 0) return undefined;
  if (set & ~OPTIONS) throw new RecordError("EINVAL", `${what}: unknown options ${set}`);
  return Uint8Array.from(new Uint8Array(view.buffer, view.byteOffset + at, Layout.options.size));
}

/**
 * Decode a control request.
 *
 * @param bytes What was received, at most {@linkcode RECORD_MAX} bytes.
 * @param size How many bytes the driver sent.
 * @param header What {@linkcode decodeHeader} made of them.
 * @returns Nothing of `bytes` is kept in it.
 * @throws {RecordError}
 */
export function decodeRequest(bytes: Uint8Array, size: number, header: Header = decodeHeader(bytes)): ControlRequest {
  const type = names.get(header.type);
  if (size < Layout.header.size) throw new RecordError("EINVAL", `request of ${size} bytes has no header`);
  if (header.version !== VERSION) throw new RecordError("EINVAL", `request of version ${header.version}`);
  if (header.length !== size || size > RECORD_MAX) {
    throw new RecordError(
      "EINVAL",
      `request says ${header.length} bytes, was sent with ${size}, and may have ${RECORD_MAX}`,
    );
  }
  if (!type) throw new RecordError("EOPNOTSUPP", `unknown request type ${header.type}`);
  if (size < sizes[type]) throw new RecordError("EINVAL", `${type} of ${size} bytes, not ${sizes[type]}`);
  return decodeBody(type, viewOf(bytes));
}

function decodeBody(type: keyof typeof RequestType, view: DataView): ControlRequest {
  const u32 = (at: number): number => view.getUint32(at, true);
  const u64 = (at: number): bigint => view.getBigUint64(at, true);
  switch (type) {
    case "HELLO":
      return { type, features: u64(Layout.hello.features), driver: decodeText(view, Layout.hello.driver, 32) };
    case "BYE":
    case "PING":
      return { type };
    case "LISTEN": {
      const flags = u32(Layout.listen.flags);
      if (flags & ~LISTEN_V6ONLY) throw new RecordError("EINVAL", `LISTEN: unknown flags ${flags}`);
      return {
        type,
        local: decodeEndpoint(view, Layout.listen.local, "LISTEN"),
        listener: u32(Layout.listen.listener),
        backlog: u32(Layout.listen.backlog),
        v6only: (flags & LISTEN_V6ONLY) !== 0,
        protocol: u32(Layout.listen.protocol),
      };
    }
    case "UNLISTEN":
      return { type, listener: u32(Layout.unlisten.listener) };
    case "CREDIT":
      return { type, listener: u32(Layout.credit.listener), count: u32(Layout.credit.count) };
    case "CONNECT":
      return {
        type,
        local: decodeEndpoint(view, Layout.connect.local, "CONNECT: local"),
        remote: decodeEndpoint(view, Layout.connect.remote, "CONNECT: remote"),
        protocol: u32(Layout.connect.protocol),
        options: decodeOptions(view, Layout.connect.options, "CONNECT"),
      };
    case "OPTIONS":
      return {
        type,
        circuit: u32(Layout.set_options.circuit),
        options: decodeOptions(view, Layout.set_options.options, "OPTIONS"),
      };
    case "CANCEL":
      return { type, connect: u64(Layout.cancel.connect) };
    case "CLOSE": {
      const flags = u32(Layout.close.flags);
      if (flags & ~CLOSE_VIOLATION) throw new RecordError("EINVAL", `CLOSE: unknown flags ${flags}`);
      return {
        type,
        circuit: u32(Layout.close.circuit),
        violation: (flags & CLOSE_VIOLATION) !== 0,
        sent: u64(Layout.close.sent),
        received: u64(Layout.close.received),
      };
    }
    default:
      return { type, arena: u32(Layout.arena_request.arena), error: u32(Layout.arena_request.error) };
  }
}

function decodeText(view: DataView, at: number, length: number): string {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, length);
  const end = bytes.indexOf(0);
  // It goes to the log: printable ASCII only.
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? length : end)).replace(/[^\x20-\x7e]/g, "?");
}

/** Records are cut out of buffers of so many bytes: a buffer for each would be most of what encoding it costs. */
const SLAB_BYTES = 32 << 10;
let slab = new ArrayBuffer(0);
let slabUsed = 0;

/** Zeros for a record, which nobody else has or will have. */
function blank(size: number): Uint8Array<ArrayBuffer> {
  if (slabUsed + size > slab.byteLength) {
    slab = new ArrayBuffer(SLAB_BYTES);
    slabUsed = 0;
  }
  const bytes = new Uint8Array(slab, slabUsed, size);
  slabUsed += (size + 7) & ~7;
  return bytes;
}

function record(type: number, token: bigint, size: number): { bytes: Uint8Array<ArrayBuffer>; view: DataView } {
  const bytes = blank(size);
  const view = viewOf(bytes);
  view.setUint16(Layout.header.type, type, true);
  view.setUint16(Layout.header.version, VERSION, true);
  view.setUint32(Layout.header.length, size, true);
  view.setBigUint64(Layout.header.token, token, true);
  return { bytes, view };
}

function putEndpoint(bytes: Uint8Array, view: DataView, at: number, { address, port }: Endpoint): void {
  view.setUint16(at + Layout.endpoint.family, address.family, true);
  view.setUint16(at + Layout.endpoint.port, port, true);
  bytes.set(address.bytes, at + Layout.endpoint.ip);
}

/** @param value At most 2^53. */
function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

function putExtents(view: DataView, at: number, extents: Extents): void {
  view.setUint32(at + Layout.extents.arena, extents.arena, true);
  view.setUint32(at + Layout.extents.ring_size, extents.ringSize, true);
  putU64(view, at + Layout.extents.own_control, extents.ownControl);
  putU64(view, at + Layout.extents.peer_control, extents.peerControl);
  putU64(view, at + Layout.extents.tx_ring, extents.txRing);
  putU64(view, at + Layout.extents.rx_ring, extents.rxRing);
}

/** A plain response. @param errno 0 for success. */
export function encodeResponse(request: Header, errno: number): Uint8Array<ArrayBuffer> {
  const { bytes, view } = record(request.type, request.token, Layout.response.size);
  view.setUint32(Layout.response.error, errno, true);
  return bytes;
}

/** The response to HELLO. */
export function encodeHelloResponse(
  request: Header,
  limits: { features: bigint; ringSize: number; maxCircuits: number; maxListeners: number },
  identity: VmIdentity,
): Uint8Array<ArrayBuffer> {
  const { bytes, view } = record(request.type, request.token, Layout.hello_response.size);
  view.setBigUint64(Layout.hello_response.features, limits.features, true);
  view.setUint32(Layout.hello_response.ring_size, limits.ringSize, true);
  view.setUint32(Layout.hello_response.max_circuits, limits.maxCircuits, true);
  view.setUint32(Layout.hello_response.max_listeners, limits.maxListeners, true);
  view.setUint32(Layout.hello_response.magic, MAGIC, true);
  putIdentity(bytes, Layout.hello_response.identity, identity);
  return bytes;
}

/** The response to a CONNECT that succeeded. */
export function encodeConnectResponse(
  request: Header,
  circuit: number,
  extents: Extents,
  local: Endpoint,
  flags = 0,
): Uint8Array<ArrayBuffer> {
  const { bytes, view } = record(request.type, request.token, Layout.connect_response.size);
  view.setUint32(Layout.connect_response.circuit, circuit, true);
  view.setUint32(Layout.connect_response.flags, flags, true);
  putExtents(view, Layout.connect_response.extents, extents);
  putEndpoint(bytes, view, Layout.connect_response.local, local);
  return bytes;
}

/** The event INCOMING. */
export function encodeIncoming(
  token: bigint,
  incoming: { listener: number; circuit: number; extents: Extents; remote: Endpoint; local: Endpoint; flags?: number },
): Uint8Array<ArrayBuffer> {
  const { bytes, view } = record(EventType.INCOMING, token, Layout.incoming.size);
  view.setUint32(Layout.incoming.listener, incoming.listener, true);
  view.setUint32(Layout.incoming.circuit, incoming.circuit, true);
  putExtents(view, Layout.incoming.extents, incoming.extents);
  putEndpoint(bytes, view, Layout.incoming.remote, incoming.remote);
  putEndpoint(bytes, view, Layout.incoming.local, incoming.local);
  view.setUint32(Layout.incoming.flags, incoming.flags ?? 0, true);
  return bytes;
}

/** The event RESET. */
export function encodeReset(token: bigint, circuit: number, errno: number): Uint8Array<ArrayBuffer> {
  const { bytes, view } = record(EventType.RESET, token, Layout.reset.size);
  view.setUint32(Layout.reset.circuit, circuit, true);
  view.setUint32(Layout.reset.error, errno, true);
  return bytes;
}

/** An event about an arena; all numbers but `arena` are those of ARENA_MAPPED. */
export function encodeArenaEvent(
  token: bigint,
  type: "ARENA_PREPARE" | "ARENA_MAPPED" | "ARENA_RETIRE",
  arena: number,
  mapped: { offset: number; length: number; nonce: bigint } = { offset: 0, length: 0, nonce: 0n },
): Uint8Array<ArrayBuffer> {
  const { bytes, view } = record(EventType[type], token, Layout.arena_event.size);
  view.setUint32(Layout.arena_event.arena, arena, true);
  view.setBigUint64(Layout.arena_event.offset, BigInt(mapped.offset), true);
  view.setBigUint64(Layout.arena_event.length, BigInt(mapped.length), true);
  view.setBigUint64(Layout.arena_event.nonce, mapped.nonce, true);
  return bytes;
}

/** An arena's header. */
export function encodeArenaHeader(nonce: bigint, length: number, ringSize: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Layout.arena_header.size);
  const view = viewOf(bytes);
  view.setBigUint64(Layout.arena_header.magic, ARENA_MAGIC, true);
  view.setBigUint64(Layout.arena_header.nonce, nonce, true);
  view.setBigUint64(Layout.arena_header.length, BigInt(length), true);
  view.setUint32(Layout.arena_header.ring_size, ringSize, true);
  return bytes;
}

/** What a VM is told about itself: in the answer to HELLO, and in the configuration space. */
export interface VmIdentity {
  readonly name: string;
  readonly ipv4: Address;
  readonly ipv6: Address;
  readonly prefix4: number;
  readonly prefix6: number;
  readonly gateway4: Address;
  readonly gateway6: Address;
}

function putIdentity(bytes: Uint8Array, base: number, identity: VmIdentity): void {
  const at = Layout.identity;
  bytes.set(identity.ipv4.bytes, base + at.ipv4);
  bytes.set(identity.gateway4.bytes, base + at.gateway4);
  bytes[base + at.prefix4] = identity.prefix4;
  bytes[base + at.prefix6] = identity.prefix6;
  bytes.set(identity.ipv6.bytes, base + at.ipv6);
  bytes.set(identity.gateway6.bytes, base + at.gateway6);
  bytes.set(new TextEncoder().encode(identity.name).subarray(0, NAME_MAX), base + at.name);
}

/** The configuration space of a VM. */
export function encodeConfig(identity: VmIdentity): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(CONFIG_BYTES);
  const view = viewOf(bytes);
  const at = Layout.config;
  view.setUint32(at.magic, MAGIC, true);
  view.setUint16(at.version, VERSION, true);
  view.setUint16(at.size_field, CONFIG_BYTES, true);
  view.setBigUint64(at.features, FEATURES, true);
  putIdentity(bytes, at.identity, identity);
  return bytes;
}
