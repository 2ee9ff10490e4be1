/**
 * Decoding of the data plane's events (`lib/include/csvn/abi.h`).
 *
 * @module
 */

import { EventKind, Layout } from "./abi.ts";

/** Peer credentials of a front-end. */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * An event, decoded. Bytes are copies, but for a control request's, of which there are many: they are the buffer's own. Descriptors are
 * numbers that the receiver owns.
 */
export type PlaneEvent =
  | { kind: "accepted"; session: number; listener: number; credentials: Credentials }
  | {
    kind: "message" | "backend-message";
    session: number;
    request: number;
    flags: number;
    payload: Uint8Array<ArrayBuffer>;
    fds: number[];
  }
  | { kind: "session-end" | "backend-end"; session: number; errno: number; reason: string }
  | { kind: "control"; device: number; ticket: number; request: Uint8Array<ArrayBuffer>; size: number; room: number }
  | { kind: "device-fault"; device: number; queue: number; errno: number; reason: string }
  | { kind: "host-connected"; circuit: number; errno: number }
  | { kind: "host-done" | "host-datagram-done"; circuit: number; errno: number; sent: bigint; received: bigint }
  | { kind: "host-source"; circuit: number; address: Uint8Array<ArrayBuffer> }
  | { kind: "host-accepted"; listener: number; connection: number; remote: Uint8Array<ArrayBuffer> }
  | { kind: "host-gone"; connection: number }
  | { kind: "short"; errno: number };

const Header = Layout.event_header;
const Message = Layout.event_message;
const text = new TextDecoder();

/**
 * Decode the events in a buffer.
 *
 * @param buffer What `csvn_events_take` filled in.
 * @param bytes How much of it.
 */
export function* decodeEvents(buffer: Uint8Array<ArrayBuffer>, bytes: number): Generator<PlaneEvent> {
  const view = new DataView(buffer.buffer, buffer.byteOffset, bytes);
  for (let at = 0; at < bytes;) {
    const length = view.getUint32(at + Header.length, true);
    yield decodeEvent(buffer, view, at, length);
    at += (length + 7) & ~7;
  }
}

function decodeEvent(buffer: Uint8Array<ArrayBuffer>, view: DataView, at: number, length: number): PlaneEvent {
  const kind = view.getUint32(at + Header.kind, true);
  const handle = view.getInt32(at + Header.handle, true);
  const aux = view.getUint32(at + Header.aux, true);
  const body = at + Header.size;
  const rest = (): string => text.decode(buffer.subarray(body, at + length));
  switch (kind) {
    case EventKind.ACCEPTED:
      return {
        kind: "accepted",
        session: handle,
        listener: aux,
        credentials: {
          pid: view.getInt32(body + Layout.event_accepted.pid, true),
          uid: view.getUint32(body + Layout.event_accepted.uid, true),
          gid: view.getUint32(body + Layout.event_accepted.gid, true),
        },
      };
    case EventKind.MESSAGE:
    case EventKind.BACKEND_MESSAGE: {
      const size = view.getUint32(body + Message.size_, true);
      const count = view.getUint32(body + Message.descriptors, true);
      return {
        kind: kind === EventKind.MESSAGE ? "message" : "backend-message",
        session: handle,
        request: view.getUint32(body + Message.request, true),
        flags: view.getUint32(body + Message.flags, true),
        payload: buffer.slice(body + Message.size, body + Message.size + size),
        fds: Array.from({ length: count }, (_, i) => view.getInt32(body + Message.fds + 4 * i, true)),
      };
    }
    case EventKind.SESSION_END:
      return { kind: "session-end", session: handle, errno: aux, reason: rest() };
    case EventKind.BACKEND_END:
      return { kind: "backend-end", session: handle, errno: aux, reason: rest() };
    case EventKind.CONTROL:
      return {
        kind: "control",
        device: handle,
        ticket: aux,
        size: view.getUint32(body + Layout.event_control.size_, true),
        room: view.getUint32(body + Layout.event_control.room, true),
        request: buffer.subarray(body + Layout.event_control.size, at + length),
      };
    case EventKind.DEVICE_FAULT:
      return { kind: "device-fault", device: handle, queue: aux >>> 16, errno: aux & 0xffff, reason: rest() };
    case EventKind.HOST_CONNECTED:
      return { kind: "host-connected", circuit: handle, errno: aux };
    case EventKind.HOST_DONE:
    case EventKind.HOST_DATAGRAM_DONE:
      return {
        kind: kind === EventKind.HOST_DONE ? "host-done" : "host-datagram-done",
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
    default:
      throw new Error(`unknown event ${kind} from the helper library`);
  }
}
