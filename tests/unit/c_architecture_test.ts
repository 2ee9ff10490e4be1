/**
 * No file of the C parts needs another that needs it: neither by including its header, nor by using a function that it defines. A .c and the
 * .h of its name are one file.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join } from "@std/path";

const root = fromFileUrl(new URL("../..", import.meta.url));

/** Sources by their names, without what is said in comments and in strings. */
type Sources = ReadonlyMap<string, string>;

function read(folder: string): Sources {
  const names = [...Deno.readDirSync(join(root, folder))].map(({ name }) => name).filter((name) =>
    /\.[ch]$/.test(name)
  );
  return new Map(names.sort().map((name) => [name, Deno.readTextFileSync(join(root, folder, name))]));
}

/** The code without its comments, and without strings but for the names of headers. */
function code(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, "").replace(
    /^(\s*#\s*include\s*)?("(?:\\.|[^"\\\n])*")/gm,
    (_, include, string) => include ? include + string : '""',
  ).replace(/(?<!include )"(?:\\.|[^"\\\n])*"/g, '""');
}

const stem = (name: string): string => name.slice(0, -2);

/** The functions that a source defines for others: what it begins a line with, and does not call static. */
function definitions(text: string): string[] {
  const found = text.matchAll(
    /^(?!static\b|typedef\b|struct \w+ \{)[A-Za-z_][\w \t*]*?[ *](\w+)\([^;{}]*?\)[^;{}()]*\n\{/gm,
  );
  return [...found].map(([, name]) => name!);
}

/** What each file needs of others, and what for. */
function needs(sources: Sources): Map<string, Map<string, Set<string>>> {
  const codes = [...sources].map(([name, text]) => [name, code(text)] as const);
  const files = new Set([...sources.keys()].map(stem));
  const owners = new Map(
    codes.flatMap(([name, text]) => name.endsWith(".c") ? definitions(text).map((symbol) => [symbol, stem(name)]) : []),
  );
  const found = new Map([...files].map((file) => [file, new Map<string, Set<string>>()]));
  const add = (from: string, to: string | undefined, why: string): void => {
    if (to === undefined || to === from) return;
    const edges = found.get(from)!;
    edges.set(to, (edges.get(to) ?? new Set()).add(why));
  };
  for (const [name, text] of codes) {
    for (const [, header] of text.matchAll(/^\s*#\s*include\s*"([\w/]+)\.h"/gm)) {
      if (files.has(header!)) add(stem(name), header!, `${header}.h`);
    }
    for (const word of new Set(text.match(/(?<!(?:struct|union|enum)\s+)\b[A-Za-z_]\w*\b/g))) {
      // A header declares what is defined elsewhere.
      if (name.endsWith(".c")) add(stem(name), owners.get(word), word);
    }
  }
  return found;
}

/** Circles, each as the way that leads around it, with what is needed at each step. */
function circles(edges: Map<string, Map<string, Set<string>>>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): void => {
    if (trail.includes(file)) {
      const way = [...trail.slice(trail.indexOf(file)), file];
      found.push(
        way.slice(1).reduce((text, to, i) => `${text} -(${[...edges.get(way[i]!)!.get(to)!][0]})-> ${to}`, file),
      );
      return;
    }
    if (done.has(file)) return;
    for (const to of edges.get(file)?.keys() ?? []) visit(to, [...trail, file]);
    done.add(file);
  };
  for (const file of edges.keys()) visit(file, []);
  return found;
}

for (const [folder, files] of [["lib/src", 50], ["lib/brain", 5], ["lib/janitor", 1], ["guest/module", 50]] as const) {
  Deno.test(`no file of ${folder} needs another that needs it`, () => {
    const sources = read(folder);
    assert(sources.size >= files, "the sources were found");
    assertEquals(circles(needs(sources)), []);
  });
}

Deno.test("needs() and circles() see includes, uses, and ways around", () => {
  const edges = needs(
    new Map([
      ["a.h", `struct a;\nint a_do(struct a *a);\nint b_do(int i);\n`],
      ["a.c", `#include "a.h"\n#include "sub/none.h"\nint a_do(struct a *a)\n{\n\treturn b_do(1);\n}\n`],
      [
        "b.c",
        `/* a_do() */\nstruct a_do *pointer;\nstatic int own(void)\n{\n}\n\nint b_do(int i)\n{\n\treturn say("a_do(c_do)"), c_do;\n}\n`,
      ],
      ["c.h", `#include "a.h"\n`],
      [
        "c.c",
        `#include <stdio.h>\nstruct c *\nno(void);\nunsigned long c_do(int i,\n\t\tint k)\n{\n\treturn own();\n}\n`,
      ],
    ]),
  );
  assertEquals(edges.get("a"), new Map([["b", new Set(["b_do"])]]));
  assertEquals(edges.get("b"), new Map([["c", new Set(["c_do"])]]));
  assertEquals(edges.get("c"), new Map([["a", new Set(["a.h"])]]));
  assertEquals(circles(edges), ["a -(b_do)-> b -(c_do)-> c -(a.h)-> a"]);
  edges.get("b")!.clear();
  assertEquals(circles(edges), []);
});

Deno.test("needs() finds what the C parts have", () => {
  const edges = needs(read("lib/src"));
  assert(edges.get("turn")?.get("session")?.has("session_begin"));
  assert(edges.get("watch")?.get("port")?.has("port.h"));
});
