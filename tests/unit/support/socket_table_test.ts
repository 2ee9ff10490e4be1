import { assertEquals, assertThrows } from "@std/assert";
import { contradictions, parseSocketTable, type Way } from "../../support/socket_table.ts";

const DOCUMENT = `
| call | to another VM | to the outside | how, why | cases |
| --- | --- | --- | --- | --- |
| one | same | same | | \`one\`, \`two\` |
| three | different | same | because | \`three\` |
| four | not supported | different | because | \`four\` |
| five | same | - | it makes no sense there | \`five\` |

\`\`\`diff
# three
- a
+ b
\`\`\`

\`\`\`diff
# four
- a
\`\`\`

\`\`\`diff
# four, to the outside
+ z
\`\`\`
`;

type Runs = [native: Map<string, string[]>, circuits: Map<string, string[]>];

const NATIVE: Record<string, string[]> = { one: ["x"], two: [], three: ["a", "c"], four: ["a"], five: ["e"] };
const CIRCUITS: Record<Way, Record<string, string[]>> = {
  "to another VM": { ...NATIVE, three: ["b", "c"], four: [] },
  "to the outside": { ...NATIVE, four: ["a", "z"], five: [] },
};

/** As the document says, but for what is given. */
function runs(way: Way, change: Record<string, [native: string[], circuits: string[]]> = {}): Runs {
  const made: Runs = [new Map(Object.entries(NATIVE)), new Map(Object.entries(CIRCUITS[way]))];
  for (const [name, saw] of Object.entries(change)) made.forEach((run, i) => run.set(name, saw[i]!));
  return made;
}

function names(way: Way, change?: Parameters<typeof runs>[1], document = DOCUMENT): string[] {
  return [...contradictions(way, parseSocketTable(document)[way], ...runs(way, change)).keys()];
}

Deno.test("contradictions() finds none where all is as the document says", () => {
  assertEquals(names("to another VM"), []);
  assertEquals(names("to the outside"), []);
});

Deno.test("contradictions() finds what differs unsaid, is the same unsaid, or differs in another way", () => {
  for (const way of ["to another VM", "to the outside"] as const) {
    assertEquals(names(way, { one: [["x"], ["y"]] }), ["one"]);
    assertEquals(names(way, { one: [["x"], ["x", "more"]] }), ["one"]);
    assertEquals(names(way, { four: [["a"], ["a"]] }), ["four"]);
    assertEquals(names(way, { four: [["a"], ["d"]] }), ["four"]);
  }
});

Deno.test("contradictions() takes each way for itself", () => {
  const both = { three: [["a", "c"], ["b", "c"]] } satisfies Parameters<typeof runs>[1];
  assertEquals([names("to another VM", both), names("to the outside", both)], [[], ["three"]]);
  const neither = { three: [["a", "c"], ["a", "c"]] } satisfies Parameters<typeof runs>[1];
  assertEquals([names("to another VM", neither), names("to the outside", neither)], [["three"], []]);
});

Deno.test("contradictions() asks nothing of a case that is not run this way, but that there is one", () => {
  const [native, circuits] = runs("to the outside");
  circuits.delete("five");
  const table = parseSocketTable(DOCUMENT)["to the outside"];
  assertEquals([...contradictions("to the outside", table, native, circuits).keys()], []);
  native.delete("five");
  assertEquals([...contradictions("to the outside", table, native, circuits).keys()], ["five"]);
});

Deno.test("contradictions() finds cases without a row, rows without a case, and cases that only one run had", () => {
  assertEquals(names("to the outside", { six: [[], []] }), ["six"]);
  assertEquals(names("to the outside", {}, DOCUMENT.replace("`two`", "`two`, `seven`")), ["seven"]);
  const [native, circuits] = runs("to the outside");
  circuits.delete("one");
  const table = parseSocketTable(DOCUMENT)["to the outside"];
  assertEquals([...contradictions("to the outside", table, native, circuits).keys()], ["one"]);
});

Deno.test("contradictions() finds a difference that is shown of a case that is called the same", () => {
  const document = DOCUMENT.replace("# three\n", "# three, to the outside\n");
  assertEquals(names("to the outside", {}, document), ["three"]);
});

Deno.test("parseSocketTable() refuses what it cannot read, or what is said twice", () => {
  const refused = (of: string, by: string, message: string): void => {
    assertThrows(() => parseSocketTable(DOCUMENT.replace(of, by)), Error, message);
  };
  refused("`two`", "`three`", "three has two rows");
  refused("| same | same |", "| same | alike |", "not a row");
  refused("| same | same |", "| same |", "not a row");
  refused("it makes no sense there", "", "not a row");
  refused("| to the outside |", "| elsewhere |", "not the columns");
  refused("# four,", "# nobody,", "the difference of nobody, to the outside is shown, but it has no row");
  refused("# four, to the outside", "# four", "the difference of four is shown twice");
});
