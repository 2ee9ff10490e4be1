import { assertEquals, assertThrows } from "@std/assert";
import { decodeEvents, PortEventError } from "../../../src/ffi/events.ts";

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

const u64 = (...values: bigint[]): number[] => [...new Uint8Array(BigUint64Array.from(values).buffer)];

/** A message's body: what it has of descriptors, and its payload. */
function message(words: readonly number[], files: readonly bigint[], payload: readonly number[]): number[] {
  const tokens = [11, 12, 13, 14, 15, 16, 17, 18];
  const all = Array.from({ length: 16 }, (_, i) => files[i] ?? 0n);
  return [...u32(...words), ...u32(...tokens), ...u64(...all), ...payload];
}

Deno.test("decodeEvents() decodes every kind, one after another, whatever their padding", () => {
  const bytes = Uint8Array.from([
    ...event(1, 0x7fffffff, -71 >>> 0),
    ...event(2, 0, 0, message([24, 9, 3, 2], [8n, 99n], [1, 2, 3])),
    ...event(3, 0, 0, message([9, 5, 0, 0], [], [])),
    ...event(4, 0, 104, "gone ü"),
    ...event(5, 0, 0, ""),
    ...event(6, 0, 0xffffffff, u32(200, 128), [9, 8, 7, 6, 5]),
    ...event(7, 0, 3 << 16 | 71, "why"),
    ...event(8, 9, 111),
    ...event(9, 9, 110, u32(1, 0, 2, 1)),
    ...event(10, 3, 21, u32(4, 80, 0), [1, 2, 3, 4], Array(12).fill(0)),
    ...event(11, 9, 0, u32(4, 53, 0), [1, 2, 3, 4], Array(12).fill(0)),
    ...event(12, 21, 0),
    ...event(13, 0, 24),
    ...event(14, 0, 1, ""),
    ...event(14, 0, 0, "no Landlock"),
  ]);
  const remote = Uint8Array.from([...u32(4, 80, 0), 1, 2, 3, 4, ...Array(12).fill(0)]);
  const address = Uint8Array.from([...u32(4, 53, 0), 1, 2, 3, 4, ...Array(12).fill(0)]);
  assertEquals([...decodeEvents(bytes, bytes.length)], [
    { kind: "result", number: 0x7fffffff, value: -71 },
    {
      kind: "message",
      request: 24,
      flags: 9,
      payload: Uint8Array.of(1, 2, 3),
      tokens: [{ token: 11, identity: "8:99" }, { token: 12, identity: "0:0" }],
    },
    { kind: "backend-message", request: 9, flags: 5, payload: new Uint8Array(), tokens: [] },
    { kind: "session-end", errno: 104, reason: "gone ü" },
    { kind: "backend-end", errno: 0, reason: "" },
    { kind: "control", ticket: 0xffffffff, size: 200, room: 128, request: Uint8Array.of(9, 8, 7, 6, 5) },
    { kind: "device-fault", queue: 3, errno: 71, reason: "why" },
    { kind: "host-connected", circuit: 9, errno: 111 },
    { kind: "host-done", circuit: 9, errno: 110, sent: 1n, received: 0x100000002n },
    { kind: "host-accepted", listener: 3, connection: 21, remote },
    { kind: "host-source", circuit: 9, address },
    { kind: "host-gone", connection: 21 },
    { kind: "short", errno: 24 },
    { kind: "jailed", ownUser: true, lacks: "" },
    { kind: "jailed", ownUser: false, lacks: "no Landlock" },
  ]);
});

Deno.test("decodeEvents() copies, but for a control request: the buffer may be used again", () => {
  const bytes = Uint8Array.from([
    ...event(2, 0, 0, message([24, 9, 3, 0], [], [1, 2, 3])),
    ...event(6, 0, 2, u32(3, 24), [1, 2, 3]),
  ]);
  const [told, control] = [...decodeEvents(bytes, bytes.length)];
  bytes.fill(0xff);
  assertEquals(told?.kind === "message" && [...told.payload], [1, 2, 3]);
  assertEquals(control?.kind === "control" && [...control.request], [255, 255, 255]);
});

Deno.test("decodeEvents() reads no further than it was told", () => {
  const bytes = Uint8Array.from([...event(5, 0, 0, "a"), ...event(99, 0, 0, "b")]);
  assertEquals([...decodeEvents(bytes, 24)].length, 1);
  assertEquals([...decodeEvents(bytes, 0)], []);
});

Deno.test("decodeEvents() refuses what no port says", () => {
  const wrong: [string, number[]][] = [
    ["unknown kind 99", event(99, 0, 0, "b")],
    ["event 0 of 8 bytes", [...u32(8, 5), ...Array(8).fill(0)]],
    ["event 9 of 24 bytes", event(9, 1, 0, u32(1, 0))],
    ["event 2 of 116 bytes", event(2, 0, 0, Array(100).fill(0))],
    ["message of 4 bytes with 0 descriptors", event(2, 0, 0, message([1, 1, 4, 0], [], [1, 2, 3]))],
    ["message of 4294967295 bytes", event(2, 0, 0, message([1, 1, 0xffffffff, 0], [], [1, 2, 3]))],
    ["with 9 descriptors", event(3, 0, 0, message([1, 1, 0, 9], [], []))],
  ];
  for (const [text, bytes] of wrong) {
    assertThrows(() => [...decodeEvents(Uint8Array.from(bytes), bytes.length)], PortEventError, text);
  }
});
