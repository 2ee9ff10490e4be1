import { assertEquals, assertThrows } from "@std/assert";
import {
  decodeExit,
  encodeExec,
  encodeFrame,
  FrameReader,
  FrameType,
  HEADER_BYTES,
  MAX_PAYLOAD,
  words,
} from "../../tools/testbed/frames.ts";

Deno.test("encodeFrame() lays a frame out as the agent reads it", () => {
  assertEquals(
    [...encodeFrame(FrameType.kill, 0x01020304, words(9))],
    [4, 0, 0, 0, 4, 3, 2, 1, 4, 0, 0, 0, 9, 0, 0, 0],
  );
});

Deno.test("encodeFrame() refuses what the agent would", () => {
  encodeFrame(FrameType.input, 1, new Uint8Array(MAX_PAYLOAD));
  const large = new Uint8Array(MAX_PAYLOAD + 1);
  assertThrows(() => encodeFrame(FrameType.input, 1, large), RangeError);
});

Deno.test("encodeExec() holds flags, size, and two strings", () => {
  const terminal = { rows: 24, columns: 0x150 };
  const bytes = encodeExec({
    command: "ls",
    input: true,
    terminal,
    term: "vt",
  });
  const text = new TextEncoder().encode("vt\0ls\0");
  assertEquals([...bytes], [3, 0, 24, 0, 0x50, 1, 0, 0, ...text]);
  const plain = encodeExec({ command: "x", input: false });
  assertEquals([...plain], [0, 0, 0, 0, 0, 0, 0, 0, 0, 120, 0]);
});

Deno.test("encodeExec() refuses a command with NUL in it", () => {
  assertThrows(() => encodeExec({ command: "a\0b", input: false }), TypeError);
});

Deno.test("FrameReader puts frames together from any pieces", () => {
  const sent = [
    { type: FrameType.output, id: 1, payload: new Uint8Array([1, 2, 3]) },
    { type: FrameType.errors, id: 2, payload: new Uint8Array() },
    { type: FrameType.exit, id: 0xffffffff, payload: words(1, 9) },
  ];
  const stream = sent.flatMap(({ type, id, payload }) => [
    ...encodeFrame(type, id, payload),
  ]);
  for (let size = 1; size <= stream.length; size++) {
    const reader = new FrameReader();
    const got = [];
    for (let at = 0; at < stream.length; at += size) {
      got.push(...reader.push(new Uint8Array(stream.slice(at, at + size))));
    }
    assertEquals(got, sent, `in pieces of ${size}`);
  }
});

Deno.test("FrameReader refuses a frame that is too long, from its header", () => {
  const header = new Uint8Array(HEADER_BYTES);
  header.set(words(MAX_PAYLOAD + 1));
  assertThrows(() => new FrameReader().push(header), RangeError);
});

Deno.test("decodeExit() tells the kinds apart and refuses others", () => {
  assertEquals(decodeExit(words(0, 3)), { kind: "exited", value: 3 });
  assertEquals(decodeExit(words(1, 9)), { kind: "signal", value: 9 });
  assertEquals(decodeExit(words(2, 11)), { kind: "not-started", value: 11 });
  assertThrows(() => decodeExit(words(3, 0)), RangeError);
  assertThrows(() => decodeExit(words(0)), RangeError);
});
