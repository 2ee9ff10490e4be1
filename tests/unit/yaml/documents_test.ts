import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { readYaml } from "../../../src/yaml/documents.ts";
import { property } from "../../support/property.ts";

const MEBI = 1 << 20;

function problems(text: string): string[] {
  return readYaml(text).problems.map(({ line, column, message }) => `${line}:${column}: ${message}`);
}

Deno.test("readYaml() reads several documents", () => {
  const { documents, problems } = readYaml("a: 1\n---\nb: [2]\n---\n");
  assertEquals(problems, []);
  assertEquals(documents.map((document) => document.toJS()), [{ a: 1 }, { b: [2] }, null]);
  assertEquals(readYaml("").documents.length, 0);
});

Deno.test("readYaml() tells where things are", () => {
  const { documents, position } = readYaml("a: 1\nb:\n  - ä\n  - c\n");
  const node = documents[0]!.getIn(["b", 1], true) as { range: [number, number, number] };
  assertEquals(position(node.range[0]), { line: 4, column: 5 });
});

Deno.test("readYaml() finds duplicate keys wherever they are", () => {
  assertEquals(
    problems("a: {b: 1, b: 2}\nc:\n  - d: 1\n    d: 2\n"),
    [
      '1:11: the key "b" is there already',
      '4:5: the key "d" is there already',
    ].sort().reverse(),
  );
  assertEquals(problems("1: a\n'1': b\n"), ['2:1: the key "1" is there already']);
  assertEquals(problems("? [a]\n: b\n"), ["1:3: a key is expected to be a single value"]);
});

Deno.test("readYaml() tells syntax errors with their position, and warnings too", () => {
  assert(problems("a: [1\nb: 2\n")[0]!.startsWith("2:"));
  assertStringIncludes(problems("a: !foo b\n")[0]!, "1:4: Unresolved tag");
});

Deno.test("readYaml() stays within its bounds, whatever comes", async (t) => {
  const hostile: Record<string, string> = {
    "too long": "#".repeat(MEBI + 1),
    "flow sequences": "[".repeat(MEBI),
    "compact sequences": "- ".repeat(MEBI / 2),
    "explicit keys": "? ".repeat(MEBI / 2),
    "flow mappings": "{a: ".repeat(MEBI / 4),
    "colons": ": ".repeat(MEBI / 2),
    "indentation": Array.from({ length: 1400 }, (_, i) => " ".repeat(i) + "a:").join("\n"),
    "documents": "---\n".repeat(MEBI / 4),
    "comments": "#\n".repeat(MEBI / 2),
    "line feeds": "\n".repeat(MEBI),
    "keys": Array.from({ length: MEBI / 12 }, (_, i) => `k${i}: 1\n`).join(""),
    "items": "- a\n".repeat(MEBI / 4),
    "aliases": "*a ".repeat(MEBI / 3),
    "tags": "- !!foo bar\n".repeat(MEBI / 12),
    "directives": "%YAML 1.2\n".repeat(MEBI / 10),
    "commas": "[" + ",".repeat(MEBI - 1),
    "an open quote": "a: '" + "x".repeat(MEBI - 10),
    "escapes": '"' + "\\x".repeat(MEBI / 2 - 1),
    "a long line": "a: " + "x".repeat(MEBI - 10),
    "tabs": "\t".repeat(MEBI),
    "zero bytes": "\0".repeat(MEBI),
  };
  for (const [name, text] of Object.entries(hostile)) {
    await t.step(name, () => {
      const { documents, problems } = readYaml(text);
      assert(problems.length <= 100);
      // One of the two is empty: nobody uses what is half read.
      assertEquals(documents.length > 0 && problems.length > 0, false);
      const harmless = ["a long line", "keys", "items", "line feeds", "comments", "zero bytes"];
      if (!harmless.includes(name)) {
        assert(problems.length > 0 || documents.length === 0, `${documents.length} documents`);
      }
    });
  }
});

Deno.test("readYaml() stops at the depth that it is given, and not before", () => {
  const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);
  assertEquals(problems(nested(90)), []);
  assertStringIncludes(problems(nested(101))[0]!, "nested more than 100 levels deep");
});

Deno.test("readYaml() never throws", () => {
  const pieces = fc.constantFrom(
    ..."[]{},:-?#&*!|>%@`\"'\n\t ".split(""),
    "a",
    "---\n",
    "- ",
    ": ",
    "&a ",
    "*a",
    "\n  ",
    "é",
  );
  property(
    fc.property(fc.array(pieces, { maxLength: 60 }), (parts) => {
      const { documents, problems } = readYaml(parts.join(""));
      assert(documents.length === 0 || problems.length === 0);
    }),
    2000,
  );
});
