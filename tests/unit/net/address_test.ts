import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  AddressError,
  addressOf,
  formatEndpoint,
  isUnspecified,
  Network,
  parseAddress,
  unmapped,
} from "../../../src/net/address.ts";
import { property } from "../../support/property.ts";

Deno.test("parseAddress() reads IPv4 and IPv6 and gives canonical text", () => {
  const cases = [
    ["10.77.0.2", 4, "10.77.0.2"],
    ["0.0.0.0", 4, "0.0.0.0"],
    ["255.255.255.255", 4, "255.255.255.255"],
    ["fd77:0:0::0001", 6, "fd77::1"],
    ["FD77::ABCD", 6, "fd77::abcd"],
    ["::", 6, "::"],
    ["::ffff:10.0.0.1", 6, "::ffff:10.0.0.1"],
    ["1:0:0:2:0:0:0:3", 6, "1:0:0:2::3"],
  ] as const;
  for (const [text, family, canonical] of cases) {
    const address = parseAddress(text);
    assertEquals([address.family, parseAddress(address.text).bytes, address.bytes.length], [
      family,
      address.bytes,
      family === 4 ? 4 : 16,
    ]);
    if (!text.includes("ffff")) assertEquals(address.text, canonical);
  }
});

Deno.test("parseAddress() refuses what only inet_aton reads, zones, ports and rubbish", () => {
  const wrong = [
    "",
    " ",
    "10.1",
    "0x7f.0.0.1",
    "1.2.3.4.5",
    "256.0.0.1",
    "1.2.3.-4",
    "fe80::1%eth0",
    "[::1]",
    "::1:80:",
  ];
  for (const text of [...wrong, ":::", "12345::", "1.2.3.4/8", "localhost", "10.0.0.1\n", "١.2.3.4"]) {
    assertThrows(() => parseAddress(text), AddressError, "is not an IP address");
  }
});

Deno.test("addressOf() and parseAddress() are each other's inverse", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  );
  property(fc.property(bytes, (bytes) => {
    const address = addressOf(bytes);
    assertEquals(parseAddress(address.text).bytes, Uint8Array.from(bytes));
    assertEquals(parseAddress(address.text).text, address.text);
  }));
});

Deno.test("addressOf() copies, and is right about any number of addresses, again and again", () => {
  const bytes = Uint8Array.of(10, 0, 0, 1);
  const address = addressOf(bytes);
  bytes[3] = 2;
  assertEquals([address.text, [...address.bytes], addressOf(bytes).text], ["10.0.0.1", [10, 0, 0, 1], "10.0.0.2"]);
  for (const text of ["0.0.0.0", "255.0.0.0", "0.255.0.0", "0.0.255.0", "0.0.0.255"]) {
    assertEquals(addressOf(parseAddress(text).bytes).text, text);
  }
  for (let round = 0; round < 2; round++) {
    for (let n = 0; n < 3000; n++) {
      const four = Uint8Array.of(255, n % 7, n >> 8, n & 0xff);
      const { family, bytes, text } = addressOf(four);
      assertEquals([family, bytes, text], [4, four, `255.${n % 7}.${n >> 8}.${n & 0xff}`]);
    }
  }
});

Deno.test("unmapped() turns IPv4-mapped addresses into IPv4 and leaves others", () => {
  assertEquals(unmapped(parseAddress("::ffff:10.0.0.1")).text, "10.0.0.1");
  for (const text of ["10.0.0.1", "::10.0.0.1", "::fffe:10.0.0.1", "1::ffff:10.0.0.1", "::"]) {
    const address = parseAddress(text);
    assertEquals(unmapped(address), address);
  }
});

Deno.test("isUnspecified() knows 0.0.0.0 and ::", () => {
  assertEquals(["0.0.0.0", "::", "0.0.0.1", "::1", "::ffff:0.0.0.0"].map((text) => isUnspecified(parseAddress(text))), [
    true,
    true,
    false,
    false,
    false,
  ]);
});

Deno.test("formatEndpoint() puts IPv6 in brackets", () => {
  assertEquals(formatEndpoint({ address: parseAddress("10.0.0.1"), port: 80 }), "10.0.0.1:80");
  assertEquals(formatEndpoint({ address: parseAddress("fd77::1"), port: 0 }), "[fd77::1]:0");
});

Deno.test("Network.parse() refuses wrong, too small and untidy networks", () => {
  const cases = [
    ["10.0.0.0", "is not a network such as"],
    ["10.0.0.0/", "is not a network such as"],
    ["10.0.0.0/8/8", "is not a network such as"],
    ["10.0.0.0/-1", "is not a network such as"],
    ["10.0.0.0/1e1", "is not a network such as"],
    ["ten/8", "is not an IP address"],
    ["10.0.0.0/33", "at most 32 bits"],
    ["fd77::/129", "at most 128 bits"],
    ["10.0.0.0/31", "too small"],
    ["fd77::/127", "too small"],
    ["10.0.0.1/8", "bits set behind its prefix"],
    ["fd77::1/64", "bits set behind its prefix"],
  ] as const;
  for (const [text, message] of cases) assertThrows(() => Network.parse(text), AddressError, message);
  assertEquals(Network.parse("10.0.0.0/30").toString(), "10.0.0.0/30");
  assertEquals(Network.parse("0.0.0.0/0").at(1)?.text, "0.0.0.1");
});

Deno.test("Network.at() ends before IPv4's broadcast address and at IPv6's last", () => {
  const four = Network.parse("10.0.0.0/30");
  assertEquals([-1, 0, 1, 2, 3, 4].map((n) => four.at(n)?.text), [
    undefined,
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    undefined,
    undefined,
  ]);
  const six = Network.parse("fd77::/126");
  assertEquals([3, 4].map((n) => six.at(n)?.text), ["fd77::3", undefined]);
});

Deno.test("Network.indexOf() is the inverse of at(), and undefined outside", () => {
  const networks = ["10.77.0.0/16", "192.168.4.0/22", "fd77:6373:766e::/64", "fd77::/112"].map(Network.parse);
  property(fc.property(fc.constantFrom(...networks), fc.nat(1000), (network, n) => {
    assertEquals(network.indexOf(network.at(n)!), BigInt(n));
  }));
  const network = Network.parse("10.77.0.0/16");
  for (const text of ["10.76.255.255", "10.78.0.0", "fd77::1", "::ffff:10.77.0.1"]) {
    assertEquals(network.indexOf(parseAddress(text)), undefined);
  }
  assertEquals(network.indexOf(parseAddress("10.77.255.255")), 65535n);
});
