/**
 * Decoding of the data plane's events (`lib/include/csvn/abi.h`).
 *
 * @module
 */

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

const HEADER = 16;
const MESSAGE = 48;
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
    const length = view.getUint32(at, true);
    yield decodeEvent(buffer, view, at, length);
    at += (length + 7) & ~7;
  }
}

function decodeEvent(buffer: Uint8Array<ArrayBuffer>, view: DataView, at: number, length: number): PlaneEvent {
  const kind = view.getUint32(at + 4, true);
  const handle = view.getInt32(at + 8, true);
  const aux = view.getUint32(at + 12, true);
  const body = at + HEADER;
  const rest = (): string => text.decode(buffer.subarray(body, at + length));
  switch (kind) {
    case 1:
      return {
        kind: "accepted",
        session: handle,
        listener: aux,
        credentials: {
          pid: view.getInt32(body, true),
          uid: view.getUint32(body + 4, true),
          gid: view.getUint32(body + 8, true),
        },
      };
    case 2:
    case 3: {
      const size = view.getUint32(body + 8, true);
      const count = view.getUint32(body + 12, true);
      return {
        kind: kind === 2 ? "message" : "backend-message",
        session: handle,
        request: view.getUint32(body, true),
        flags: view.getUint32(body + 4, true),
        payload: buffer.slice(body + MESSAGE, body + MESSAGE + size),
        fds: Array.from({ length: count }, (_, i) => view.getInt32(body + 16 + 4 * i, true)),
      };
    }
    case 4:
    case 5:
      return { kind: kind === 4 ? "session-end" : "backend-end", session: handle, errno: aux, reason: rest() };
    case 6:
      return {
        kind: "control",
        device: handle,
        ticket: aux,
        size: view.getUint32(body, true),
        room: view.getUint32(body + 4, true),
        request: buffer.subarray(body + 8, at + length),
      };
    case 7:
      return { kind: "device-fault", device: handle, queue: aux >>> 16, errno: aux & 0xffff, reason: rest() };
    case 8:
      return { kind: "host-connected", circuit: handle, errno: aux };
    case 9:
    case 12:
      return {
        kind: kind === 9 ? "host-done" : "host-datagram-done",
        circuit: handle,
        errno: aux,
        sent: view.getBigUint64(body, true),
        received: view.getBigUint64(body + 8, true),
      };
    case 10:
      return { kind: "host-accepted", listener: handle, connection: aux, remote: buffer.slice(body, at + length) };
    case 11:
      return { kind: "host-source", circuit: handle, address: buffer.slice(body, at + length) };
    case 13:
      return { kind: "host-gone", connection: handle };
    case 14:
      return { kind: "short", errno: aux };
    default:
      throw new Error(`unknown event ${kind} from the helper library`);
  }
}
