/**
 * docs/sockets.md: what it says of each case of the program `sockets`, and whether that is so.
 *
 * @module
 */

/** What the document says. */
export interface SocketTable {
  /** Of each case: does it differ? */
  readonly differs: ReadonlyMap<string, boolean>;
  /** Of cases that differ: the lines, `-` the guest's own stack's, `+` the circuits'. */
  readonly seen: ReadonlyMap<string, readonly string[]>;
}

/** What a run of the program saw, by case. */
export type Observations = ReadonlyMap<string, readonly string[]>;

const VERDICTS = new Map([["same", false], ["different", true], ["not supported", true]]);

/** Read the document. @throws {Error} where it contradicts itself or cannot be read. */
export function parseSocketTable(text: string): SocketTable {
  const differs = new Map<string, boolean>();
  const seen = new Map<string, string[]>();
  for (const line of text.split("\n").filter((line) => /^\|.*`\w+` \|$/.test(line))) {
    const columns = line.slice(1, -1).split("|").map((column) => column.trim());
    const differing = VERDICTS.get(columns[1] ?? "");
    if (columns.length !== 4 || differing === undefined) throw new Error(`docs/sockets.md: not a row: ${line}`);
    for (const [, name] of columns[3]!.matchAll(/`(\w+)`/g)) {
      if (differs.has(name!)) throw new Error(`docs/sockets.md: ${name} has two rows`);
      differs.set(name!, differing);
    }
  }
  for (const [, block] of text.matchAll(/```diff\n(.*?)```/gs)) {
    const [title, ...lines] = block!.trimEnd().split("\n");
    seen.set(title!.replace(/^# /, ""), lines);
  }
  return { differs, seen };
}

/** The lines in which two runs of a case differ, as the document has them. */
export function difference(native: readonly string[], circuits: readonly string[]): string[] {
  const lines: string[] = [];
  for (let i = 0; i < Math.max(native.length, circuits.length); i++) {
    if (native[i] === circuits[i]) continue;
    if (native[i] !== undefined) lines.push(`- ${native[i]}`);
    if (circuits[i] !== undefined) lines.push(`+ ${circuits[i]}`);
  }
  return lines;
}

/** Cases of which the document says something else than what was seen, each with what was. */
export function contradictions(table: SocketTable, native: Observations, circuits: Observations): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of table.differs.keys()) if (!native.has(name)) found.set(name, "the program has no such case");
  for (const [name, saw] of native) {
    const lines = difference(saw, circuits.get(name) ?? ["nothing"]);
    const said = table.differs.get(name);
    const block = ["```diff", `# ${name}`, ...lines, "```"].join("\n");
    if (said === undefined) found.set(name, "has no row");
    else if (!said && lines.length > 0) found.set(name, `is called the same, but:\n${block}`);
    else if (said && lines.length === 0) found.set(name, "is called different, but is the same");
    else if (said && lines.join("\n") !== (table.seen.get(name) ?? []).join("\n")) {
      found.set(name, `differs in another way:\n${block}`);
    }
  }
  for (const name of table.seen.keys()) {
    if (!table.differs.get(name)) found.set(name, "its difference is shown, but it has no row that says so");
  }
  return found;
}
