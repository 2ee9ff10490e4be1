import { assertEquals } from "@std/assert";
import { DomainPattern } from "../../../src/policy/domain_pattern.ts";

Deno.test("DomainPattern matches names, and with *. what is below one", () => {
  const matches = (pattern: string, name: string): boolean => DomainPattern.parse(pattern)!.matches(name);
  assertEquals([matches("API.Example.com.", "api.example.com"), matches("api.example.com", "x.api.example.com")], [
    true,
    false,
  ]);
  const below = ["a.example.com", "a.b.example.com", "example.com", ".example.com", "aexample.com", "a\\.example.com"];
  assertEquals(below.map((name) => matches("*.example.com", name)), [true, true, false, false, false, false]);
});

Deno.test("DomainPattern.parse() takes DNS names alone", () => {
  const good = ["a", "a.b", "*.a", "_srv.a", "xn--bcher-kva.example", `${"a".repeat(63)}.b`];
  assertEquals(good.filter((text) => !DomainPattern.parse(text)), []);
  const bad = [
    "",
    "*",
    "*.",
    ".",
    "a..b",
    "a.*",
    "*.*.a",
    "a b",
    "-a",
    "a-",
    "ä.de",
    "a".repeat(64),
    `${"a.".repeat(127)}aa`,
  ];
  assertEquals(bad.filter((text) => DomainPattern.parse(text)), []);
});

Deno.test("DomainPattern.matchesBelow() tells names above those that match", () => {
  const below = (pattern: string, names: string[]): string[] =>
    names.filter((name) => DomainPattern.parse(pattern)!.matchesBelow(name));
  const names = ["com", "example.com", "api.example.com", "v2.api.example.com", "ample.com", "org", "m", "."];
  assertEquals(below("api.example.com", names), ["com", "example.com", "."]);
  assertEquals(below("*.example.com", names), ["com", "example.com", "."]);
  assertEquals([below("localhost", names), below("*.com", names)], [["."], ["com", "."]]);
});
