/**
 * docs/sockets.md: what it says of each case of the program `sockets`, and whether that is so.
 *
 * @module
 */

/** Where circuits lead; the names of the table's columns. */
export const WAYS = ["to another VM", "to the outside"] as const;
/** Where circuits lead. */
export type Way = typeof WAYS[number];

/** What the document says of one way. */
export interface SocketTable {
  /** Of each case that is run: does it differ? */
  readonly differs: ReadonlyMap<string, boolean>;
  /** Cases that make no sense this way, and are not run. */
  readonly omitted: ReadonlySet<string>;
  /** Of cases that differ: the lines, `-` the guest's own stack's, `+` the circuits'. */
  readonly seen: ReadonlyMap<string, readonly string[]>;
}

/** What a run of the program saw, by case. */
export type Observations = ReadonlyMap<string, readonly string[]>;

const OMITTED = "-";
const VERDICTS = new Map([["same", false], ["different", true], ["not supported", true]]);
const COLUMNS = 5;
/** The title of a difference to another VM has the case's name alone; others say which way. */
const titleOf = (name: string, way: Way): string => way === WAYS[0] ? name : `${name}, ${way}`;

/** Read the document. @throws {Error} where it contradicts itself or cannot be read. */
export function parseSocketTable(text: string): Record<Way, SocketTable> {
  const blocks = new Map<string, string[]>();
  for (const [, block] of text.matchAll(/```diff\n(.*?)```/gs)) {
    const [first, ...lines] = block!.trimEnd().split("\n");
    const title = first!.replace(/^# /, "");
    if (blocks.has(title)) throw new Error(`docs/sockets.md: the difference of ${title} is shown twice`);
    blocks.set(title, lines);
  }
  const headers = text.split("\n").filter((line) => line.startsWith("| call"));
  for (const header of headers.map(cells)) {
    if (WAYS.some((way, i) => header[i + 1] !== way)) throw new Error(`docs/sockets.md: not the columns: ${header}`);
  }
  const rows = text.split("\n").filter((line) => /^\|.*`\w+` \|$/.test(line)).map((line) => ({
    line,
    is: cells(line),
  }));
  const [one, two] = WAYS.map((way, i): SocketTable => {
    const differs = new Map<string, boolean>();
    const omitted = new Set<string>();
    const seen = new Map<string, string[]>();
    for (const { line, is } of rows) {
      const said = is[i + 1] ?? "";
      const reason = is[COLUMNS - 2];
      if (is.length !== COLUMNS || !(said === OMITTED ? reason : VERDICTS.has(said))) {
        throw new Error(`docs/sockets.md: not a row: ${line}`);
      }
      for (const [, name] of is[COLUMNS - 1]!.matchAll(/`(\w+)`/g)) {
        if (differs.has(name!) || omitted.has(name!)) throw new Error(`docs/sockets.md: ${name} has two rows`);
        if (said === OMITTED) omitted.add(name!);
        else differs.set(name!, VERDICTS.get(said)!);
        const lines = blocks.get(titleOf(name!, way));
        if (lines) seen.set(name!, lines);
        blocks.delete(titleOf(name!, way));
      }
    }
    return { differs, omitted, seen };
  });
  const [stray] = blocks.keys();
  if (stray !== undefined) throw new Error(`docs/sockets.md: the difference of ${stray} is shown, but it has no row`);
  return { [WAYS[0]]: one!, [WAYS[1]]: two! };
}

function cells(row: string): string[] {
  return row.slice(1, -1).split("|").map((cell) => cell.trim());
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

/**
 * Cases of which the document says something else than what was seen, each with what was.
 *
 * @param table What it says of the way that the circuits led.
 */
export function contradictions(
  way: Way,
  table: SocketTable,
  native: Observations,
  circuits: Observations,
): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of [...table.differs.keys(), ...table.omitted]) {
    if (!native.has(name)) found.set(name, "the program has no such case");
  }
  for (const [name, saw] of native) {
    if (table.omitted.has(name)) continue;
    const lines = difference(saw, circuits.get(name) ?? ["nothing"]);
    const said = table.differs.get(name);
    const block = ["```diff", `# ${titleOf(name, way)}`, ...lines, "```"].join("\n");
    if (said === undefined) found.set(name, "has no row");
    else if (!said && lines.length > 0) found.set(name, `is called the same, but:\n${block}`);
    else if (said && lines.length === 0) found.set(name, "is called different, but is the same");
    else if (said && lines.join("\n") !== (table.seen.get(name) ?? []).join("\n")) {
      found.set(name, `differs in another way:\n${block}`);
    }
  }
  for (const name of table.seen.keys()) {
    if (!table.differs.get(name)) found.set(name, "its difference is shown, but its row does not say that it differs");
  }
  return found;
}
