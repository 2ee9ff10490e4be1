import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseReverseName, reverseName } from "../../../src/dns/reverse.ts";
import { addressOf, parseAddress } from "../../../src/net/address.ts";
import { property } from "../../support/property.ts";

Deno.test("reverseName() names addresses and networks", () => {
  assertEquals(reverseName(parseAddress("10.77.0.2")), "2.0.77.10.in-addr.arpa");
  assertEquals(reverseName(parseAddress("10.77.0.0"), 16), "77.10.in-addr.arpa");
  assertEquals(reverseName(parseAddress("10.77.16.0"), 20), "16.77.10.in-addr.arpa");
  assertEquals(
    reverseName(parseAddress("fd77::1")),
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.7.d.f.ip6.arpa",
  );
});

Deno.test("parseReverseName() reads what reverseName() writes", () => {
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
  );
  property(fc.property(bytes, (bytes) => {
    const address = addressOf(bytes);
    assertEquals(parseReverseName(reverseName(address)), { address, bits: bytes.length * 8, below: false });
  }));
});

Deno.test("parseReverseName() reads parts, and stops at what is no label of an address", () => {
  const cases = [
    ["10.in-addr.arpa", "10.0.0.0", 8, false],
    ["77.10.in-addr.arpa", "10.77.0.0", 16, false],
    ["x.77.10.in-addr.arpa", "10.77.0.0", 16, true],
    ["077.10.in-addr.arpa", "10.0.0.0", 8, true],
    ["256.10.in-addr.arpa", "10.0.0.0", 8, true],
    ["9.2.0.77.10.in-addr.arpa", "10.77.0.2", 32, true],
    [".in-addr.arpa", "0.0.0.0", 0, true],
    ["7.d.f.ip6.arpa", "fd70::", 12, false],
    ["77.d.f.ip6.arpa", "fd00::", 8, true],
  ] as const;
  for (const [name, text, bits, below] of cases) {
    assertEquals([name, parseReverseName(name)], [name, { address: parseAddress(text), bits, below }]);
  }
});

Deno.test("parseReverseName() knows other names", () => {
  for (const name of ["", ".", "arpa", "in-addr.arpa", "ip6.arpa", "xin-addr.arpa", "10.in-addr.arpa.csvn"]) {
    assertEquals([name, parseReverseName(name)], [name, undefined]);
  }
});
