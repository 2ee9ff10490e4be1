import { assertEquals } from "@std/assert";
import { canonicalName, isWithin } from "../../../src/dns/zone.ts";

Deno.test("canonicalName() lowers ASCII's letters alone, and takes the last dot away", () => {
  const cases = [
    ["Web.CSVN.", "web.csvn"],
    ["web", "web"],
    [".", "."],
    ["", ""],
    // The Kelvin sign: Unicode's lower case of it is k.
    ["\u212A8s.csvn", "\u212A8s.csvn"],
    // A label that ends with a dot of its own.
    ["a\\.", "a\\."],
  ] as const;
  for (const [name, canonical] of cases) assertEquals(canonicalName(name), canonical);
});

Deno.test("isWithin() cuts names at labels", () => {
  const cases = [
    ["csvn", true],
    ["web.csvn", true],
    ["a.b.csvn", true],
    ["xcsvn", false],
    ["csvn.com", false],
    ["x\\.csvn", false],
    ["", false],
  ] as const;
  for (const [name, expected] of cases) assertEquals([name, isWithin(name, "csvn")], [name, expected]);
});
