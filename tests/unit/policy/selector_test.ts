import { assertEquals } from "@std/assert";
import { Selector, type SelectorSpec } from "../../../src/policy/selector.ts";

Deno.test("Selector: every operator, where the label is and where it is not", () => {
  const labels = [{ app: "a" }, { app: "b" }, { app: "" }, {}];
  const cases: [SelectorSpec, boolean[], string][] = [
    [{}, [true, true, true, true], "everything"],
    [{ matchLabels: { app: "a" } }, [true, false, false, false], "app=a"],
    [{ matchLabels: { app: "" } }, [false, false, true, false], "app="],
    [
      { matchExpressions: [{ key: "app", operator: "In", values: ["a", ""] }] },
      [true, false, true, false],
      "app in (a,)",
    ],
    [
      { matchExpressions: [{ key: "app", operator: "NotIn", values: ["a", "b"] }] },
      [false, false, true, true],
      "app notin (a,b)",
    ],
    [{ matchExpressions: [{ key: "app", operator: "Exists" }] }, [true, true, true, false], "app"],
    [{ matchExpressions: [{ key: "app", operator: "DoesNotExist" }] }, [false, false, false, true], "!app"],
    [
      { matchLabels: { app: "a" }, matchExpressions: [{ key: "app", operator: "NotIn", values: ["a"] }] },
      [false, false, false, false],
      "app=a,app!=a",
    ],
  ];
  for (const [spec, expected, text] of cases) {
    const selector = Selector.of(spec);
    assertEquals([labels.map((each) => selector.matches(each)), String(selector)], [expected, text]);
  }
});

Deno.test("Selector.anchor is a label that all that is selected have", () => {
  assertEquals(Selector.of({ matchLabels: { a: "b", c: "d" } }).anchor, ["a", "b"]);
  assertEquals(Selector.of({ matchExpressions: [{ key: "a", operator: "In", values: ["b"] }] }).anchor, ["a", "b"]);
  for (const operator of ["NotIn", "Exists", "DoesNotExist"] as const) {
    assertEquals(Selector.of({ matchExpressions: [{ key: "a", operator, values: ["b"] }] }).anchor, undefined);
  }
  assertEquals(Selector.of({ matchExpressions: [{ key: "a", operator: "In", values: ["b", "c"] }] }).anchor, undefined);
});
