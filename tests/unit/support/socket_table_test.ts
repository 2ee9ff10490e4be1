import { assertEquals, assertThrows } from "@std/assert";
import { contradictions, parseSocketTable } from "../../support/socket_table.ts";

const DOCUMENT = `
| call | over circuits | how, why | cases |
| --- | --- | --- | --- |
| one | same | | \`one\`, \`two\` |
| three | different | because | \`three\` |

\`\`\`diff
# three
- a
+ b
\`\`\`
`;

const runs = (change: Record<string, [string[], string[]]> = {}): [Map<string, string[]>, Map<string, string[]>] => {
  const all: Record<string, [string[], string[]]> = {
    one: [["x"], ["x"]],
    two: [[], []],
    three: [["a", "c"], ["b", "c"]],
    ...change,
  };
  return [0, 1].map((i) => new Map(Object.entries(all).map(([name, saw]) => [name, saw[i]!]))) as ReturnType<
    typeof runs
  >;
};

const names = (change?: Parameters<typeof runs>[0], document = DOCUMENT): string[] => [
  ...contradictions(parseSocketTable(document), ...runs(change)).keys(),
];

Deno.test("contradictions() finds none where all is as the document says", () => {
  assertEquals(names(), []);
});

Deno.test("contradictions() finds what differs unsaid, is the same unsaid, or differs in another way", () => {
  assertEquals(names({ one: [["x"], ["y"]] }), ["one"]);
  assertEquals(names({ one: [["x"], ["x", "more"]] }), ["one"]);
  assertEquals(names({ three: [["a", "c"], ["a", "c"]] }), ["three"]);
  assertEquals(names({ three: [["a", "c"], ["d", "c"]] }), ["three"]);
});

Deno.test("contradictions() finds cases without a row, rows without a case, and cases that only one run had", () => {
  assertEquals(names({ four: [[], []] }), ["four"]);
  assertEquals(names({}, DOCUMENT.replace("`two`", "`two`, `five`")), ["five"]);
  const [native, circuits] = runs();
  circuits.delete("one");
  assertEquals([...contradictions(parseSocketTable(DOCUMENT), native, circuits).keys()], ["one"]);
});

Deno.test("parseSocketTable() refuses two rows of a case, and a verdict that is none", () => {
  assertThrows(() => parseSocketTable(DOCUMENT.replace("`two`", "`three`")), Error, "three has two rows");
  assertThrows(() => parseSocketTable(DOCUMENT.replace("| same |", "| alike |")), Error, "not a row");
});
