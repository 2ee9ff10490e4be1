import { assert, assertEquals } from "@std/assert";
import {
  ABI_VERSION,
  CIRCUITS_MAX,
  Command,
  EventKind,
  Layout,
  MESSAGE_FDS,
  MOVED_MAX,
  PortState,
  Revocable,
} from "../../../src/ffi/abi.ts";
import { counterNames } from "../../../src/ffi/plane.ts";
import { symbols } from "../../../src/ffi/symbols.ts";
import { abiLayouts } from "../../support/native.ts";

const header = await Deno.readTextFile(new URL("../../../lib/include/csvn/abi.h", import.meta.url));
const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Every name and number of src/ffi, as the C header names them. */
function ours(): Map<string, number> {
  const found = new Map<string, number>(Object.entries({ ABI_VERSION, CIRCUITS_MAX, MESSAGE_FDS, MOVED_MAX }));
  for (const [name, kind] of Object.entries(EventKind)) found.set(`EVENT_${name}`, kind);
  for (const [name, kind] of Object.entries(Command)) found.set(`COMMAND_${name}`, kind);
  for (const [name, what] of Object.entries(Revocable)) found.set(`REVOKE_${name}`, what);
  for (const [name, state] of Object.entries(PortState)) found.set(`PORT_${name}`, state);
  for (const [name, fields] of Object.entries(Layout)) {
    for (const [field, value] of Object.entries(fields)) found.set(`${name}.${field}`, value);
  }
  counterNames.forEach((name, i) => found.set(`counters.${snake(name)}`, 8 * i));
  return found.set("counters.size", 8 * counterNames.length);
}

Deno.test("every kind, size and offset of src/ffi is the C compiler's, and none is missing on either side", () => {
  const sorted = (map: Map<string, number>): [string, number][] => [...map].toSorted(([a], [b]) => a < b ? -1 : 1);
  assertEquals(sorted(ours()), sorted(abiLayouts()));
});

Deno.test("the list of C names is complete: every kind of event and command, structure and field of abi.h", () => {
  const listed = abiLayouts();
  const kinds = [...header.matchAll(/\bCSVN_((?:EVENT|COMMAND)_[A-Z_]+)\b\s*=/g)].map(([, name]) => name!);
  assert(kinds.length > 10);
  for (const name of kinds) assert(listed.has(name), name);
  const structures = [...header.matchAll(/^struct csvn_(\w+) \{\n([^}]*)\};?/gm)];
  assert(structures.length > 10);
  for (const [, name, body] of structures) {
    assert(listed.has(`${name}.size`), name);
    for (const [, field] of body!.matchAll(/^\t(?:struct \w+|\w+) (\w+)(?:\[[^\]]*\])?;/gm)) {
      if (field !== "reserved") assert(listed.has(`${name}.${field === "size" ? "size_" : field}`), `${name}.${field}`);
    }
  }
});

Deno.test("every function of abi.h is in the symbol table with its parameters, and no other", () => {
  const types: Record<string, string> = { int: "i32", uint32_t: "u32", uint64_t: "u64" };
  const typeOf = (parameter: string): string =>
    parameter.includes("*") ? "buffer" : types[parameter.trim().split(/\s+/)[0]!] ?? parameter;
  const theirs = [...header.matchAll(/^CSVN_EXPORT (\w+) (\w+)\(([^)]*)\);/gm)].map(([, result, name, list]) =>
    [
      name!,
      { result: types[result!], parameters: list!.trim() === "void" ? [] : list!.split(",").map(typeOf) },
    ] as const
  );
  assert(theirs.length > 20);
  const { csvn_turn: _another, ...rest } = symbols;
  const mine = Object.entries(rest).map(([name, { result, parameters }]) => [name, { result, parameters }] as const);
  assertEquals<unknown>(Object.fromEntries(mine), Object.fromEntries(theirs));
});
