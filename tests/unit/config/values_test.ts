import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../../src/config/config.ts";
import {
  readAction,
  readAddress,
  readChoice,
  readCidr,
  readCpus,
  readCpuWeight,
  readLogFormat,
  readLogLevel,
  readMemory,
  readMode,
  readName,
  readNetwork,
  readRingSize,
  readSize,
  readSocketPath,
  readWindowSize,
} from "../../../src/config/values.ts";

/** Every value is refused, with a message that quotes it. */
function refused(read: (text: string) => unknown, message: string, values: readonly string[]): void {
  for (const value of values) {
    const error = assertThrows(() => read(value), ConfigError, message);
    assertEquals(error.message.includes("\n") && !value.includes("\n"), false);
  }
}

Deno.test("readName() takes DNS labels in lower case", () => {
  for (const name of ["a", "0", "web-1", "a".repeat(63), "xn--abc"]) assertEquals(readName(name), name);
  refused(readName, "is not a VM name", ["", "-a", "a-", "A", "a.b", "a_b", "ü", "a".repeat(64), "a\n", "a b"]);
});

Deno.test("readSocketPath() takes what fits into a socket's address", () => {
  assertEquals(readSocketPath("/" + "a".repeat(106)), "/" + "a".repeat(106));
  refused(readSocketPath, "longer than 107 bytes", ["/" + "a".repeat(107), "ü".repeat(54)]);
  refused(readSocketPath, "is empty", [""]);
  refused(readSocketPath, "zero byte", ["/a\0b", "\0abstract"]);
});

Deno.test("readAddress() and readNetwork() insist on the family", () => {
  assertEquals(readAddress("10.0.0.1", 4).text, "10.0.0.1");
  assertEquals(readNetwork("fd77::/64", 6).prefix, 64);
  refused((text) => readAddress(text, 4), "is not an IPv4 address", ["::1"]);
  refused((text) => readAddress(text, 6), "is not an IPv6 address", ["10.0.0.1"]);
  refused((text) => readAddress(text, 4), "is not an IP address", ["", "10.1"]);
  refused((text) => readNetwork(text, 4), "is not an IPv4 network", ["fd77::/64"]);
  refused((text) => readNetwork(text, 6), "is not an IPv6 network", ["10.0.0.0/8"]);
  refused((text) => readNetwork(text, 4), "is not a network", ["10.0.0.0"]);
  refused((text) => readNetwork(text, 6), "is IPv4's", ["::ffff:10.0.0.0/104"]);
});

Deno.test("readCidr() takes ranges and single addresses, IPv4-mapped ones as IPv4", () => {
  const cases = [
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["10.0.0.1", "10.0.0.1/32"],
    ["fd00::9", "fd00::9/128"],
    ["::ffff:10.0.0.0/104", "10.0.0.0/8"],
    ["::ffff:10.0.0.1", "10.0.0.1/32"],
  ] as const;
  for (const [text, expected] of cases) assertEquals(`${readCidr(text)}`, expected);
  refused(readCidr, "holds more than IPv4-mapped addresses: write IPv4 as such", ["::ffff:10.0.0.0/95"]);
  refused(readCidr, "is not an IP address", ["10.0/8", "a"]);
});

Deno.test("readSize() takes powers of two with units, within bounds", () => {
  for (
    const [text, bytes] of [["1", 1], ["16KiB", 16384], ["16 K", 16384], ["2mib", 2 ** 21], ["1G", 2 ** 30]] as const
  ) {
    assertEquals(readSize(text, 1, 2 ** 40), bytes);
  }
  refused((text) => readSize(text, 1, 2 ** 20), "is not a size: use a power of two from 1 to 1MiB", [
    "",
    "0",
    "3",
    "-4",
    "1.5K",
    "1e3",
    "0x10",
    "16KB",
    "2MiB",
    "1 Ki B",
    "9999999",
    "NaN",
    "Infinity",
    "16\n",
  ]);
});

Deno.test("readRingSize() and readWindowSize() have the documented bounds", () => {
  assertEquals([readRingSize("16KiB"), readRingSize("16MiB")], [2 ** 14, 2 ** 24]);
  refused(readRingSize, "from 16KiB to 16MiB", ["8KiB", "32MiB", "256"]);
  assertEquals([readWindowSize("256MiB"), readWindowSize("256GiB")], [2 ** 28, 2 ** 38]);
  refused(readWindowSize, "from 256MiB to 256GiB", ["128MiB", "512GiB"]);
});

Deno.test("readCpuWeight(), readMemory() and readCpus() take what control groups do", () => {
  assertEquals([readCpuWeight("1"), readCpuWeight("10000")], [1, 10_000]);
  refused(readCpuWeight, "is not a weight", ["", "0", "10001", "1.5", "-1", "max"]);
  assertEquals([readMemory("16MiB"), readMemory("100M"), readMemory("2 GiB")], [2 ** 24, 100 * 2 ** 20, 2 ** 31]);
  refused(readMemory, "is not a size", ["", "64", "64KiB", "15MiB", "max", "1.5GiB"]);
  assertEquals(["0", "0-3", "0-3,6,8-8"].map(readCpus), ["0", "0-3", "0-3,6,8-8"]);
  refused(readCpus, "are not CPUs", ["", "a", "3-1", "0,", "0-", "0;1", "0 1"]);
});

Deno.test("readMode() takes three octal digits", () => {
  assertEquals([readMode("0660"), readMode("600"), readMode("0777"), readMode("000")], [0o660, 0o600, 0o777, 0]);
  refused(
    readMode,
    "is not a mode",
    ["", "8", "0o660", "66", "06600", "0668", "rw-", "432", " 660"].filter((mode) => mode !== "432"),
  );
});

Deno.test("readChoice() and its kin name the choices", () => {
  assertEquals([readAction("deny"), readLogLevel("warning"), readLogFormat("json")], ["deny", "warning", "json"]);
  refused(readAction, "is not one of allow, deny", ["", "Allow", "allow ", "toString"]);
  refused(readLogLevel, "is not one of debug, info, warning, error", ["warn", "trace"]);
  refused(readLogFormat, "is not one of text, json", ["yaml"]);
  refused((text) => readChoice(text, []), "is not one of", ["a"]);
});
