/**
 * Frames between host and guest's agent. The protocol is described in
 * `guest/agent/agent.c`; this is its other end's codec.
 */

/** Version that the agent must answer with. */
export const AGENT_VERSION = 1;
/** Bytes of a frame before its payload. */
export const HEADER_BYTES = 12;
/** Largest payload, in bytes. */
export const MAX_PAYLOAD: number = 128 * 1024 + 256;
/** Largest piece of input sent in one frame, in bytes. */
export const CHUNK_BYTES: number = 32 * 1024;
/** Input that may be on its way without credit, in bytes. */
export const IN_WINDOW: number = 64 * 1024;
/** Output that may be on its way without credit, in bytes. */
export const OUT_WINDOW: number = 256 * 1024;

/** Types of frames. */
export const FrameType = {
  hello: 1,
  exec: 2,
  input: 3,
  kill: 4,
  window: 5,
  credit: 6,
  poweroff: 7,
  guestHello: 0x81,
  output: 0x82,
  errors: 0x83,
  inputCredit: 0x84,
  exit: 0x85,
} as const;

/** One frame. */
export interface Frame {
  /** One of {@link FrameType}; others are for the receiver to refuse. */
  type: number;
  /** Command that it belongs to; 0 if none. */
  id: number;
  /** Its content. */
  payload: Uint8Array;
}

/** A terminal's size in characters. */
export interface WindowSize {
  /** Characters per line. */
  columns: number;
  /** Lines. */
  rows: number;
}

/** How a command ended, as the agent tells it. */
export interface ExitReport {
  /** `exited` with a status, by a `signal`, or `not-started` with an errno. */
  kind: "exited" | "signal" | "not-started";
  /** Status, signal number or errno. */
  value: number;
}

const encoder = new TextEncoder();

/** A frame's bytes; RangeError if the payload is too large. */
export function encodeFrame(
  type: number,
  id: number,
  payload: Uint8Array = new Uint8Array(),
): Uint8Array<ArrayBuffer> {
  if (payload.length > MAX_PAYLOAD) {
    throw new RangeError(
      `a frame holds ${MAX_PAYLOAD} bytes at most, not ${payload.length}`,
    );
  }
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, payload.length, true);
  view.setUint32(4, id, true);
  view.setUint8(8, type);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** A payload of 32-bit numbers. */
export function words(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => view.setUint32(4 * index, value, true));
  return bytes;
}

/** The payload of a window frame. */
export function encodeWindow(size: WindowSize): Uint8Array {
  const bytes = new Uint8Array(4);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, size.rows, true);
  view.setUint16(2, size.columns, true);
  return bytes;
}

/** What an exec frame says. */
export interface ExecRequest {
  /** For `bash -c`; no NUL inside. */
  command: string;
  /** Is input sent? Otherwise it is /dev/null. */
  input: boolean;
  /** Run on a terminal of this size. */
  terminal?: WindowSize | undefined;
  /** TERM, for a terminal. */
  term?: string | undefined;
}

/** The payload of an exec frame. */
export function encodeExec(request: ExecRequest): Uint8Array {
  const { command, terminal, term = "" } = request;
  if (command.includes("\0") || term.includes("\0")) {
    throw new TypeError("a command cannot hold a NUL character");
  }
  const strings = encoder.encode(`${term}\0${command}\0`);
  const bytes = new Uint8Array(8 + strings.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, (terminal ? 1 : 0) | (request.input ? 2 : 0));
  view.setUint16(2, terminal?.rows ?? 0, true);
  view.setUint16(4, terminal?.columns ?? 0, true);
  bytes.set(strings, 8);
  return bytes;
}

/** Read the `index`th 32-bit number of a payload; RangeError if it is short. */
export function wordAt(payload: Uint8Array, index: number): number {
  const { buffer, byteOffset, byteLength } = payload;
  return new DataView(buffer, byteOffset, byteLength)
    .getUint32(4 * index, true);
}

/** What an exit frame says. */
export function decodeExit(payload: Uint8Array): ExitReport {
  const kinds = ["exited", "signal", "not-started"] as const;
  const kind = kinds[wordAt(payload, 0)];
  if (kind === undefined) throw new RangeError("unknown kind of exit");
  return { kind, value: wordAt(payload, 1) };
}

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  #buffer: Uint8Array = new Uint8Array(0);

  /** Take bytes in; the frames that they complete. */
  push(bytes: Uint8Array): Frame[] {
    let data = bytes;
    if (this.#buffer.length > 0) {
      data = new Uint8Array(this.#buffer.length + bytes.length);
      data.set(this.#buffer);
      data.set(bytes, this.#buffer.length);
    }
    const frames: Frame[] = [];
    let offset = 0;
    while (data.length - offset >= HEADER_BYTES) {
      const head = data.subarray(offset, offset + HEADER_BYTES);
      const length = wordAt(head, 0);
      if (length > MAX_PAYLOAD) {
        throw new RangeError(`the agent sent a frame of ${length} bytes`);
      }
      const end = offset + HEADER_BYTES + length;
      if (end > data.length) break;
      frames.push({
        type: head[8]!,
        id: wordAt(head, 1),
        payload: data.slice(offset + HEADER_BYTES, end),
      });
      offset = end;
    }
    this.#buffer = data.slice(offset);
    return frames;
  }
}
