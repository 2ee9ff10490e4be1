import { assertEquals, assertThrows } from "@std/assert";
import { AddressError, parseAddress } from "../../../src/net/address.ts";
import { Cidr } from "../../../src/net/cidr.ts";

Deno.test("Cidr.unmapped() turns ranges of IPv4-mapped addresses into IPv4's, and leaves others", () => {
  const cases = [
    ["::ffff:10.0.0.0/104", "10.0.0.0/8"],
    ["::ffff:a00:1/128", "10.0.0.1/32"],
    ["::ffff:0:0/96", "0.0.0.0/0"],
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["2001:db8::/32", "2001:db8::/32"],
    ["::/0", "::/0"],
    ["::10.0.0.0/104", "::a00:0/104"],
  ] as const;
  for (const [text, expected] of cases) assertEquals([text, `${Cidr.parse(text).unmapped()}`], [text, expected]);
  const range = Cidr.parse("::ffff:10.0.0.0/104");
  const address = parseAddress("10.1.2.3");
  assertEquals([range.contains(address), range.unmapped().contains(address)], [false, true]);
});

Deno.test("Cidr.unmapped() refuses a range that is written as IPv4-mapped, and holds others", () => {
  for (const prefix of [0, 80, 95]) {
    const range = Cidr.parse(`::ffff:10.0.0.0/${prefix}`);
    assertThrows(() => range.unmapped(), AddressError, `"${range}" holds more than IPv4-mapped addresses`);
  }
});
