/**
 * Decoding of a port's events (`lib/include/csvn/abi.h`). A port may have been taken over by its guest: so whatever it says is checked.
 *
 * @module
 */

import { EventKind, Layout, MESSAGE_FDS } from "./abi.ts";

/** A descriptor that came with a message: the port's number for it, and for memory what tells files apart, as {@linkcode Descriptor.identity}. */
export interface TokenEvent {
  readonly token: number;
  readonly identity: string;
}

/**
 * An event, decoded. Bytes are copies, but for a control request's, of which there are many: they are the buffer's own.
 */
export type PortEvent =
  | { kind: "result"; number: number; value: number }
  | { kind: "message" | "backend-message" } & MessageEvent
  | { kind: "session-end" | "backend-end"; errno: number; reason: string }
  | { kind: "control"; ticket: number; request: Uint8Array<ArrayBuffer>; size: number; room: number }
  | { kind: "device-fault"; queue: number; errno: number; reason: string }
  | { kind: "host-connected"; circuit: number; errno: number }
  | { kind: "host-done"; circuit: number; errno: number; sent: bigint; received: bigint }
  | { kind: "host-source"; circuit: number; address: Uint8Array<ArrayBuffer> }
  | { kind: "host-accepted"; listener: number; connection: number; remote: Uint8Array<ArrayBuffer> }
  | { kind: "host-gone"; connection: number }
  | { kind: "short"; errno: number }
  | { kind: "jailed"; ownUser: boolean; lacks: string };

/** A port says what none does. */
export class PortEventError extends Error {
  override readonly name = "PortEventError";
}

const Record = Layout.record;
const Message = Layout.event_message;
const text = new TextDecoder();

/** Bytes that an event has behind its header, at least. */
const BODY: { readonly [kind: number]: number } = {
  [EventKind.MESSAGE]: Message.size,
  [EventKind.BACKEND_MESSAGE]: Message.size,
  [EventKind.CONTROL]: Layout.event_control.size,
  [EventKind.HOST_DONE]: Layout.event_done.size,
  [EventKind.HOST_ACCEPTED]: Layout.host_address.size,
  [EventKind.HOST_SOURCE]: Layout.host_address.size,
};

/**
 * Decode the events in a buffer.
 *
 * @param buffer What `csvn_port_take` filled in: whole records.
 * @param bytes How much of it.
 * @throws {PortEventError}
 */
export function* decodeEvents(buffer: Uint8Array<ArrayBuffer>, bytes: number): Generator<PortEvent> {
  const view = new DataView(buffer.buffer, buffer.byteOffset, bytes);
  for (let at = 0; at < bytes;) {
    const length = view.getUint32(at + Record.length, true);
    const kind = length < Record.size ? 0 : view.getUint32(at + Record.kind, true);
    if (length < Record.size + (BODY[kind] ?? 0)) throw new PortEventError(`event ${kind} of ${length} bytes`);
    yield decodeEvent(buffer, view, at, length);
    at += (length + 7) & ~7;
  }
}

/** What a message's event has, but for its kind. */
interface MessageEvent {
  request: number;
  flags: number;
  payload: Uint8Array<ArrayBuffer>;
  tokens: TokenEvent[];
}

function decodeMessage(buffer: Uint8Array<ArrayBuffer>, view: DataView, body: number, end: number): MessageEvent {
  const size = view.getUint32(body + Message.size_, true);
  const count = view.getUint32(body + Message.descriptors, true);
  if (size > end - body - Message.size || count > MESSAGE_FDS) {
    throw new PortEventError(`message of ${size} bytes with ${count} descriptors in an event of ${end - body}`);
  }
  return {
    request: view.getUint32(body + Message.request, true),
    flags: view.getUint32(body + Message.flags, true),
    payload: buffer.slice(body + Message.size, body + Message.size + size),
    tokens: Array.from({ length: count }, (_, i) => ({
      token: view.getInt32(body + Message.tokens + 4 * i, true),
      identity: `${view.getBigUint64(body + Message.files + 16 * i, true)}:${
        view.getBigUint64(body + Message.files + 16 * i + 8, true)
      }`,
    })),
  };
}

function decodeEvent(buffer: Uint8Array<ArrayBuffer>, view: DataView, at: number, length: number): PortEvent {
  const kind = view.getUint32(at + Record.kind, true);
  const handle = view.getInt32(at + Record.handle, true);
  const aux = view.getUint32(at + Record.aux, true);
  const body = at + Record.size;
  const rest = (): string => text.decode(buffer.subarray(body, at + length));
  switch (kind) {
    case EventKind.RESULT:
      return { kind: "result", number: handle, value: aux | 0 };
    case EventKind.MESSAGE:
      return { kind: "message", ...decodeMessage(buffer, view, body, at + length) };
    case EventKind.BACKEND_MESSAGE:
      return { kind: "backend-message", ...decodeMessage(buffer, view, body, at + length) };
    case EventKind.SESSION_END:
      return { kind: "session-end", errno: aux, reason: rest() };
    case EventKind.BACKEND_END:
      return { kind: "backend-end", errno: aux, reason: rest() };
    case EventKind.CONTROL:
      return {
        kind: "control",
        ticket: aux,
        size: view.getUint32(body + Layout.event_control.size_, true),
        room: view.getUint32(body + Layout.event_control.room, true),
        request: buffer.subarray(body + Layout.event_control.size, at + length),
      };
    case EventKind.DEVICE_FAULT:
      return { kind: "device-fault", queue: aux >>> 16, errno: aux & 0xffff, reason: rest() };
    case EventKind.HOST_CONNECTED:
      return { kind: "host-connected", circuit: handle, errno: aux };
    case EventKind.HOST_DONE:
      return {
        kind: "host-done",
        circuit: handle,
        errno: aux,
        sent: view.getBigUint64(body + Layout.event_done.sent, true),
        received: view.getBigUint64(body + Layout.event_done.received, true),
      };
    case EventKind.HOST_ACCEPTED:
      return { kind: "host-accepted", listener: handle, connection: aux, remote: buffer.slice(body, at + length) };
    case EventKind.HOST_SOURCE:
      return { kind: "host-source", circuit: handle, address: buffer.slice(body, at + length) };
    case EventKind.HOST_GONE:
      return { kind: "host-gone", connection: handle };
    case EventKind.SHORT:
      return { kind: "short", errno: aux };
    case EventKind.JAILED:
      return { kind: "jailed", ownUser: aux === 1, lacks: rest() };
    default:
      throw new PortEventError(`event of the unknown kind ${kind}`);
  }
}
