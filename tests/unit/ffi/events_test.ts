import { assertEquals, assertThrows } from "@std/assert";
import { decodeEvents } from "../../../src/ffi/events.ts";

/** An event as the library lays it out, padded to 8 bytes. */
function event(kind: number, handle: number, aux: number, ...body: (number[] | string)[]): number[] {
  const bytes = body.flatMap((part) => typeof part === "string" ? [...new TextEncoder().encode(part)] : part);
  const header = new Uint8Array(16);
  const view = new DataView(header.buffer);
  view.setUint32(0, 16 + bytes.length, true);
  view.setUint32(4, kind, true);
  view.setInt32(8, handle, true);
  view.setUint32(12, aux, true);
  const whole = [...header, ...bytes];
  return [...whole, ...Array<number>((8 - whole.length % 8) % 8).fill(0xee)];
}

const u32 = (...values: number[]): number[] => [...new Uint8Array(Uint32Array.from(values).buffer)];

Deno.test("decodeEvents() decodes every kind, one after another, whatever their padding", () => {
  const fds = [11, 12, 13, 14, 15, 16, 17, 18];
  const bytes = Uint8Array.from([
    ...event(1, 5, 6, u32(77, 1000, 1001, 0)),
    ...event(2, 5, 0, u32(24, 9, 3, 2, ...fds), [1, 2, 3]),
    ...event(3, 5, 0, u32(9, 5, 0, 0, ...fds)),
    ...event(4, 5, 104, "gone ü"),
    ...event(5, 5, 0, ""),
    ...event(6, 7, 0xffffffff, u32(200, 128), [9, 8, 7, 6, 5]),
    ...event(7, 7, 3 << 16 | 71, "why"),
    ...event(8, 9, 111),
    ...event(9, 9, 110, u32(1, 0, 2, 1)),
    ...event(12, 9, 0, u32(3, 0, 4, 0)),
    ...event(10, 3, 21, u32(4, 80, 0), [1, 2, 3, 4]),
    ...event(11, 9, 0, u32(4, 53, 0), [1, 2, 3, 4]),
    ...event(13, 21, 0),
    ...event(14, 0, 24),
  ]);
  const remote = Uint8Array.from([...u32(4, 80, 0), 1, 2, 3, 4]);
  const address = Uint8Array.from([...u32(4, 53, 0), 1, 2, 3, 4]);
  assertEquals([...decodeEvents(bytes, bytes.length)], [
    { kind: "accepted", session: 5, listener: 6, credentials: { pid: 77, uid: 1000, gid: 1001 } },
    { kind: "message", session: 5, request: 24, flags: 9, payload: Uint8Array.of(1, 2, 3), fds: [11, 12] },
    { kind: "backend-message", session: 5, request: 9, flags: 5, payload: new Uint8Array(), fds: [] },
    { kind: "session-end", session: 5, errno: 104, reason: "gone ü" },
    { kind: "backend-end", session: 5, errno: 0, reason: "" },
    { kind: "control", device: 7, ticket: 0xffffffff, size: 200, room: 128, request: Uint8Array.of(9, 8, 7, 6, 5) },
    { kind: "device-fault", device: 7, queue: 3, errno: 71, reason: "why" },
    { kind: "host-connected", circuit: 9, errno: 111 },
    { kind: "host-done", circuit: 9, errno: 110, sent: 1n, received: 0x100000002n },
    { kind: "host-datagram-done", circuit: 9, errno: 0, sent: 3n, received: 4n },
    { kind: "host-accepted", listener: 3, connection: 21, remote },
    { kind: "host-source", circuit: 9, address },
    { kind: "host-gone", connection: 21 },
    { kind: "short", errno: 24 },
  ]);
});

Deno.test("decodeEvents() copies, but for a control request: the buffer may be used again", () => {
  const fds = Array<number>(8).fill(0);
  const bytes = Uint8Array.from([
    ...event(2, 5, 0, u32(24, 9, 3, 0, ...fds), [1, 2, 3]),
    ...event(6, 1, 2, u32(3, 24), [1, 2, 3]),
  ]);
  const [message, control] = [...decodeEvents(bytes, bytes.length)];
  bytes.fill(0xff);
  assertEquals(message?.kind === "message" && [...message.payload], [1, 2, 3]);
  assertEquals(control?.kind === "control" && [...control.request], [255, 255, 255]);
});

Deno.test("decodeEvents() reads no further than it was told, and refuses unknown kinds", () => {
  const bytes = Uint8Array.from([...event(5, 1, 0, "a"), ...event(99, 1, 0, "b")]);
  assertEquals([...decodeEvents(bytes, 24)].length, 1);
  assertEquals([...decodeEvents(bytes, 0)], []);
  assertThrows(() => [...decodeEvents(bytes, bytes.length)], Error, "unknown event 99 from the helper library");
});
