/**
 * Who may import whom, and who may touch memory: read from the sources themselves.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, join, relative } from "@std/path";

const root = fromFileUrl(new URL("../..", import.meta.url));

interface Import {
  readonly from: string;
  /** Path from the root, or a package. */
  readonly to: string;
  readonly typeOnly: boolean;
}

function sources(dir: string): string[] {
  return [...Deno.readDirSync(join(root, dir))].flatMap(({ name, isDirectory }) => {
    const path = `${dir}/${name}`;
    return isDirectory ? sources(path) : name.endsWith(".ts") ? [path] : [];
  });
}

/** The code without its comments. */
function code(path: string): string {
  return Deno.readTextFileSync(join(root, path)).replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

/** `import { type A, type B }` imports only types; `import { type A, b }` does not. */
function isTypeOnly(clause: string): boolean {
  if (/^\s*type\b(?!\s*,)/.test(clause)) return true;
  const names = clause.match(/^\s*\{([\s\S]*)\}\s*$/)?.[1]?.split(",").map((name) => name.trim()).filter(Boolean);
  return names !== undefined && names.length > 0 && names.every((name) => name.startsWith("type "));
}

function importsOf(path: string): Import[] {
  const text = code(path);
  const found: Import[] = [];
  const add = (clause: string, to: string): void => {
    const target = to.startsWith(".") ? relative(root, join(root, path, "..", to)) : to;
    found.push({ from: path, to: target, typeOnly: isTypeOnly(clause) });
  };
  for (const [, clause, to] of text.matchAll(/^\s*(?:import|export)\s+([^;"']*?)\s*from\s*"([^"]+)"/gm)) {
    add(clause!, to!);
  }
  for (const [, to] of text.matchAll(/\bimport\s*\(\s*"([^"]+)"/g)) add("", to!);
  for (const [, to] of text.matchAll(/^\s*import\s*"([^"]+)"/gm)) add("", to!);
  return found;
}

const files = [...sources("src"), "mod.ts"];
const imports = files.flatMap(importsOf);

/** The layer of a file: the folder in src, or its own name. */
function layer(path: string): string {
  return path.match(/^src\/([^/]+)/)?.[1] ?? path;
}

// What each layer may import of ours: values, and beyond those types alone.
const allowed: Record<string, { readonly values: readonly string[]; readonly types?: readonly string[] }> = {
  "clock.ts": { values: [] },
  "errno.ts": { values: [] },
  net: { values: [] },
  vhost: { values: ["clock.ts", "errno.ts", "net"] },
  circuit: { values: ["clock.ts", "errno.ts", "net"] },
  ffi: { values: ["clock.ts", "errno.ts", "net"], types: ["vhost", "circuit"] },
  dns: { values: ["clock.ts", "errno.ts", "net"] },
  yaml: { values: [] },
  policy: { values: ["clock.ts", "net", "yaml"] },
  audit: { values: ["errno.ts", "net"], types: ["circuit"] },
  host: { values: ["clock.ts", "errno.ts", "net", "vhost", "circuit", "ffi", "dns", "policy", "audit"] },
  config: { values: ["errno.ts", "net", "yaml", "policy"], types: ["host"] },
  cli: { values: ["clock.ts", "errno.ts", "net", "circuit", "ffi", "host", "config", "policy", "deno.json"] },
  "mod.ts": { values: ["errno.ts", "net", "circuit", "ffi", "host", "cli", "audit", "policy"] },
};

Deno.test("imports go one way", () => {
  assert(imports.length > 80, "the imports were found");
  const wrong: string[] = [];
  for (const { from, to, typeOnly } of imports) {
    const [here, there] = [layer(from), layer(to)];
    if (!files.includes(to) && to !== "deno.json") continue;
    const may = allowed[here];
    assert(may, `${from}: a layer that this test does not know`);
    if (here === there || may.values.includes(there) || (typeOnly && may.types?.includes(there))) continue;
    wrong.push(`${from} imports ${typeOnly ? "types of " : ""}${to}`);
  }
  assertEquals(wrong, []);
});

Deno.test("every file that is imported is there, and packages come by the names of deno.json", async () => {
  const { imports: packages } = JSON.parse(await Deno.readTextFile(join(root, "deno.json")));
  for (const { from, to } of imports) {
    const inPackage = Object.keys(packages).some((name) => to === name || (name.endsWith("/") && to.startsWith(name)));
    const known = files.includes(to) || to === "deno.json" || inPackage || to.startsWith("node:") ||
      /^policies\/schema\/[a-z]+\.schema\.json$/.test(to);
    assert(known, `${from} imports ${to}`);
  }
});

Deno.test("no cycle of value imports", () => {
  const values = Map.groupBy(imports.filter(({ typeOnly }) => !typeOnly), ({ from }) => from);
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    assert(!trail.includes(path), [...trail, path].join(" -> "));
    if (done.has(path)) return;
    for (const { to } of values.get(path) ?? []) visit(to, [...trail, path]);
    done.add(path);
  };
  for (const file of files) visit(file, []);
});

Deno.test("only src/ffi says Deno.dlopen or Deno.Unsafe…", () => {
  const doors = files.filter((file) => /\bdlopen\b|\bUnsafe[A-Z]\w*|\["(dlopen|Unsafe)/.test(code(file)));
  assertEquals(doors.map(layer).filter((name) => name !== "ffi"), []);
  assert(doors.includes("src/ffi/library.ts"), "the search finds what there is");
  for (const file of files.filter((file) => layer(file) !== "ffi" && !file.startsWith("src/cli"))) {
    assert(!/\bDeno\s*\[|=\s*Deno\s*[;,)]/.test(code(file)), `${file} hides what it takes from Deno`);
  }
});

Deno.test("what takes time takes it from a clock that is handed in", () => {
  const timed = ["circuit", "dns", "host", "policy", "vhost"];
  const own = /\b(?:set(?:Timeout|Interval)|Date\.now|performance\.now|delay)\s*\(|\bnew Date\b/;
  assert(own.test(code("src/clock.ts")), "the search finds what there is");
  assertEquals(files.filter((file) => timed.includes(layer(file)) && own.test(code(file))), []);
});

Deno.test("isTypeOnly() tells types from values", () => {
  const cases = [
    ["type { A }", true],
    ["type A", true],
    ["{ type A, type B }", true],
    ["{ type A, b }", false],
    ["{ a }", false],
    ["a", false],
    ["* as a", false],
    ["{}", false],
  ] as const;
  for (const [clause, expected] of cases) assertEquals([clause, isTypeOnly(clause)], [clause, expected]);
});

/** Files that import each other, by whatever way, types included. */
function circles(folder: string): string[][] {
  const edges = new Map<string, string[]>();
  for (const { from, to } of imports) {
    if (from.startsWith(`${folder}/`) && to.startsWith(`${folder}/`)) edges.set(from, [...edges.get(from) ?? [], to]);
  }
  const reach = (from: string): Set<string> => {
    const found = new Set<string>();
    const open = [...edges.get(from) ?? []];
    for (let file = open.pop(); file !== undefined; file = open.pop()) {
      if (!found.has(file)) open.push(...edges.get(found.add(file) && file) ?? []);
    }
    return found;
  };
  const reached = new Map([...edges.keys()].map((file) => [file, reach(file)]));
  return [...reached].filter(([file, found]) => found.has(file)).map(([file, found]) => [
    file,
    ...[...found].filter((other) => reached.get(other)?.has(file)),
  ]);
}

Deno.test("no file of src/circuit needs another that needs it", () => {
  assert(imports.filter(({ from }) => from.startsWith("src/circuit/")).length > 100, "the imports were found");
  assertEquals(circles("src/circuit"), []);
});
