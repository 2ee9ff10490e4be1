import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  decodeU64,
  encodeMessage,
  encodeU64,
  FEATURES,
  PROTOCOL_FEATURES,
  viewOf,
} from "../../../src/vhost/protocol.ts";
import { property } from "../../support/property.ts";

Deno.test("encodeMessage() puts the header in front, with the version in the flags", () => {
  assertEquals([...encodeMessage(0x102, 4, Uint8Array.of(9, 8))], [2, 1, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 9, 8]);
});

Deno.test("encodeU64() and decodeU64() are each other's inverse, wherever the bytes lie", () => {
  property(fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat(9), (value, at) => {
    const bytes = new Uint8Array(20);
    bytes.set(encodeU64(value), at);
    assertEquals(decodeU64(bytes.subarray(at, at + 8)), value);
    assertEquals(viewOf(bytes.subarray(at)).getBigUint64(0, true), value);
  }));
});

Deno.test("the offered features are those that QEMU was measured with", () => {
  assertEquals([FEATURES, PROTOCOL_FEATURES], [1n << 32n | 1n << 30n | 1n << 29n | 1n << 28n, 0x400629n]);
});
