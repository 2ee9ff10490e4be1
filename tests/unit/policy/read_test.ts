import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { readPolicies } from "../../../src/policy/read.ts";
import { circuitPolicy, networkPolicy, policiesOf } from "../../support/policies.ts";
import { property } from "../../support/property.ts";

function problems(text: string): string[] {
  const { policies, problems } = readPolicies("p.yaml", text);
  if (problems.length > 0) assertEquals(policies, []);
  return problems.map(({ line, column, message }) => `${line}:${column}: ${message}`);
}

/** A NetworkPolicy in block style, its spec at line 6. */
const block = (spec: string): string =>
  `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: p
spec:
${spec.split("\n").map((line) => `  ${line}`).join("\n")}
`;

Deno.test("readPolicies() tells every error at once, at its position and by its path", () => {
  assertEquals(
    problems(block(`podSelector: {}
ingress:
- from:
  - podSelector: {}
  - ipBlock:
      cidr: 10.0.0.0/8
      except:
      - 11.0.0.0/8
  ports:
  - port: 80
    endPort: 79
  - port: 0
egres: []`)).sort(),
    [
      "17:13: spec.ingress[0].ports[1].port: 0 is not a port from 1 to 65535, or a name of up to 15 lower-case letters, digits and hyphens",
      "18:3: spec.egres: unknown field; known are podSelector, policyTypes, ingress, egress",
      "13:11: spec.ingress[0].from[1].ipBlock.except[0]: 11.0.0.0/8 does not lie within 10.0.0.0/8",
      "16:16: spec.ingress[0].ports[0].endPort: 79 is below port 80",
    ].sort(),
  );
  assertEquals(
    problems(block(`ingress:
- from:
  - podSelector: {}
  - ipBlock:
      cidr: 10.0.0.0/8
      except:
      - 11.0.0.0/8
      - 10.0.0.0
  ports:
  - port: 80
    endPort: 79
  - port: web
    endPort: 80`)),
    [
      "12:11: spec.ingress[0].from[1].ipBlock.except[0]: 11.0.0.0/8 does not lie within 10.0.0.0/8",
      '13:11: spec.ingress[0].from[1].ipBlock.except[1]: "10.0.0.0" is not a CIDR such as 10.0.0.0/8 or fd00::/8',
      "16:16: spec.ingress[0].ports[0].endPort: 79 is below port 80",
      "18:16: spec.ingress[0].ports[1].endPort: needs a port, which is a number",
    ],
  );
});

Deno.test("readPolicies() refuses what is wrong, and says what would be right", () => {
  const cases: [string, string][] = [
    [
      "a: 1",
      "apiVersion and kind are expected; read are NetworkPolicy of networking.k8s.io/v1 and CircuitPolicy of policy.csvn/v1",
    ],
    ["[]", "apiVersion and kind are expected"],
    ["text", "apiVersion and kind are expected"],
    ["{apiVersion: v1, kind: Pod}", "kind: Pod of v1 is not read here"],
    [
      "{apiVersion: networking.k8s.io/v2, kind: NetworkPolicy}",
      "kind: NetworkPolicy of networking.k8s.io/v2 is not read",
    ],
    ["{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy}", "metadata is missing"],
    ["{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {}, spec: {}}", "metadata: name is missing"],
    [
      "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: A}, spec: {}}",
      'metadata.name: "A" is not a name',
    ],
    [
      "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a, colour: b}, spec: {}}",
      "metadata.colour: unknown field",
    ],
    ["{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}}", "spec is missing"],
    [networkPolicy("[]"), "spec: a list is not a mapping"],
    [networkPolicy("{podSelector: []}"), "spec.podSelector: a list is not a mapping"],
    [
      networkPolicy("{podSelector: {app: a}}"),
      "spec.podSelector.app: unknown field; known are matchLabels, matchExpressions",
    ],
    [
      networkPolicy("{podSelector: {matchLabels: {app: 1}}}"),
      "spec.podSelector.matchLabels.app: 1 is not a label value",
    ],
    [networkPolicy("{podSelector: {matchLabels: {app: true}}}"), "app: true is not a label value of up to 63 letters"],
    [networkPolicy("{podSelector: {matchLabels: {'a b': c}}}"), '"a b" is not a label key'],
    [
      networkPolicy("{podSelector: {matchExpressions: [{key: a, operator: in, values: [b]}]}}"),
      '"in" is not one of In, NotIn, Exists, DoesNotExist',
    ],
    [
      networkPolicy("{podSelector: {matchExpressions: [{key: a, operator: In}]}}"),
      "spec.podSelector.matchExpressions[0]: In needs values",
    ],
    [networkPolicy("{podSelector: {matchExpressions: [{key: a, operator: NotIn, values: []}]}}"), "NotIn needs values"],
    [
      networkPolicy("{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}"),
      "matchExpressions[0].values: Exists takes no values",
    ],
    [networkPolicy("{podSelector: {matchExpressions: [{operator: Exists}]}}"), "key is missing"],
    [networkPolicy("{policyTypes: [ingress]}"), 'spec.policyTypes[0]: "ingress" is not one of Ingress, Egress'],
    [networkPolicy("{policyTypes: [Ingress, Egress, Ingress]}"), "spec.policyTypes: the list has more than 2 items"],
    [networkPolicy("{policyTypes: Ingress}"), 'spec.policyTypes: "Ingress" is not a list'],
    [networkPolicy("{ingress: {}}"), "spec.ingress: a mapping is not a list"],
    [networkPolicy("{ingress: [null]}"), "spec.ingress[0]: null is not a mapping"],
    [networkPolicy("{ingress: [{to: []}]}"), "spec.ingress[0].to: unknown field; known are from, ports"],
    [networkPolicy("{egress: [{from: []}]}"), "spec.egress[0].from: unknown field; known are to, ports"],
    [
      networkPolicy("{ingress: [{from: [{}]}]}"),
      "spec.ingress[0].from[0]: is empty; for anybody, leave the whole list out",
    ],
    [networkPolicy("{ingress: [{from: [null]}]}"), "spec.ingress[0].from[0]: null is not a mapping"],
    [networkPolicy("{ingress: [{from: [{podSelector: null}]}]}"), "spec.ingress[0].from[0]: is empty"],
    [
      networkPolicy("{ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}"),
      "ipBlock and domainNames stand alone",
    ],
    [networkPolicy("{ingress: [{from: [{ipBlock: {}}]}]}"), "spec.ingress[0].from[0].ipBlock: cidr is missing"],
    ...[
      "10.0.0.0",
      "10.0.0.0/33",
      "10.0.0/8",
      "fd00::/129",
      "10.0.0.0/08",
      "10.0.0.0/-1",
      "/8",
      "10.0.0.0/8/8",
      "a/8",
      "0x7f.1/8",
      "::ffff:10.0.0.0/95",
    ].map(
      (
        cidr,
      ): [string, string] => [networkPolicy(`{ingress: [{from: [{ipBlock: {cidr: "${cidr}"}}]}]}`), "ipBlock.cidr: "],
    ),
    [
      networkPolicy('{ingress: [{from: [{ipBlock: {cidr: "::ffff:0:0/64"}}]}]}'),
      'ipBlock.cidr: "::ffff:0:0/64" holds more than IPv4-mapped addresses: write IPv4 as such',
    ],
    ...["11.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0", "fd00::/16", "::ffff:11.0.0.0/104"].map((cidr): [string, string] => [
      networkPolicy(`{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: ["${cidr}"]}}]}]}`),
      `ipBlock.except[0]: ${cidr} does not lie within 10.0.0.0/8`,
    ]),
    ...["0", "65536", "-1", "1.5", "true", "'80'", "Web", "a_b", "-a", "a-", "a--b", "[]", "'12'", "abcdefghijklmnop"]
      .map(
        (
          port,
        ): [string, string] => [
          networkPolicy(`{ingress: [{ports: [{port: ${port}}]}]}`),
          "spec.ingress[0].ports[0].port: ",
        ],
      ),
    [networkPolicy("{ingress: [{ports: [{port: 1, protocol: tcp}]}]}"), 'protocol: "tcp" is not one of TCP, UDP, SCTP'],
    [networkPolicy("{ingress: [{ports: [{endPort: 1}]}]}"), "endPort: needs a port"],
    [networkPolicy("{ingress: [{ports: [{port: 1, endPort: 65536}]}]}"), "endPort: 65536 is not a port"],
    [networkPolicy("{ingress: [{ports: [{port: 1, endPort: a}]}]}"), 'endPort: "a" is not a port'],
    [networkPolicy("{priority: 1}"), "spec.priority: unknown field"],
    [circuitPolicy("{priority: 1001}"), "spec.priority: 1001 is not a number from 0 to 1000"],
    [circuitPolicy("{priority: -1}"), "spec.priority: -1 is not a number"],
    [circuitPolicy("{egress: [{}]}"), "spec.egress[0]: action is missing"],
    [circuitPolicy("{egress: [{action: Pass}]}"), 'action: "Pass" is not one of Allow, Deny'],
    [circuitPolicy("{ingress: [{action: Deny, from: [{domainNames: [a.b]}]}]}"), "from[0].domainNames: unknown field"],
    [circuitPolicy("{egress: [{action: Deny, to: [{domainNames: []}]}]}"), "domainNames: the list is empty"],
    ...["*", "a.*.b", "*a.b", "a b", "", "**.a", "http://a.b", "a..b", "-a.b"].map((name): [string, string] => [
      circuitPolicy(`{egress: [{action: Deny, to: [{domainNames: ["${name}"]}]}]}`),
      `domainNames[0]: "${name}" is not a DNS name`,
    ]),
    ["{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod}]}", "items[0].kind: Pod of v1 is not read here"],
    [
      `{apiVersion: v1, kind: List, items: [${networkPolicy("{egres: []}").trim()}]}`,
      "items[0].spec.egres: unknown field",
    ],
  ];
  for (const [text, expected] of cases) {
    const found = problems(text);
    assert(found.length > 0, `${text} is taken`);
    assertStringIncludes(found.join("\n"), expected, text);
    for (const line of found) assert(/^\d+:\d+: /.test(line));
  }
});

Deno.test("readPolicies() reads what kubectl writes", () => {
  const policy = `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {}}, status: {},
  metadata: {name: a, namespace: b, uid: x, resourceVersion: "1", creationTimestamp: "2026-01-01T00:00:00Z", generation: 1,
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}"}, labels: {app: c}, managedFields: [{manager: kubectl}]}}`;
  const [first, second] = policiesOf(
    `{apiVersion: v1, kind: List, metadata: {resourceVersion: ""}, items: [${policy}, ${
      policy.replace("name: a", "name: d")
    }]}`,
  );
  assertEquals([first!.name, first!.namespace, second!.name, first!.position.line], ["a", "b", "d", 1]);
});

Deno.test("readPolicies() follows aliases, but into no explosion", () => {
  const anchored = `a: &s {matchLabels: {app: x}}\n`;
  assertStringIncludes(problems(anchored)[0]!, "apiVersion and kind are expected");
  const [policy] = policiesOf(
    networkPolicy("{podSelector: &s {matchLabels: {app: x}}, ingress: [{from: [{podSelector: *s}]}]}"),
  );
  assertEquals(policy!.rules[0]!.peers!.map((peer) => peer.kind === "workloads" && peer.pods.text), ["app=x"]);
  const levels = Array.from(
    { length: 30 },
    (_, i) => `a${i}: &a${i} [${Array(9).fill(i ? `*a${i - 1}` : "x").join(", ")}]`,
  );
  assertEquals(problems(levels.join("\n")), ["1:1: Excessive alias count indicates a resource exhaustion attack"]);
  assertStringIncludes(problems(networkPolicy("{podSelector: &s {matchExpressions: [*s]}}"))[0]!, "1:1: ");
  assertStringIncludes(problems(networkPolicy("{podSelector: *nothing}"))[0]!, "nothing");
});

Deno.test("readPolicies() stays within its bounds in policies of every shape", () => {
  const many = (text: string, count: number, by = ", "): string => Array(count).fill(text).join(by);
  const bad = problems(networkPolicy(`{ingress: [${many("{from: [{}]}", 5000)}]}`));
  assertEquals(bad.length, 100);
  assertEquals(problems(`${many(networkPolicy("{}"), 11_000, "---\n")}`), ["1:1: longer than 1048576 characters"]);
  assertEquals(problems(networkPolicy(`{egress: [{to: ${"[".repeat(5000)}`)).length, 1);
  assertEquals(problems(networkPolicy(`{podSelector: {matchLabels: {${many("a: b", 50_000)}}}}`)).length, 100);
  const long = "x".repeat(100_000);
  for (
    const text of [
      networkPolicy(`{${long}: 1}`),
      networkPolicy(`{policyTypes: [${long}]}`),
      `{apiVersion: v1, kind: ${long}}`,
    ]
  ) {
    assert(problems(text).every((line) => line.length < 101_000));
  }
});

Deno.test("readPolicies() never throws, whatever takes a part's place", () => {
  const anything = fc.oneof(
    fc.constantFrom(
      "[]",
      "{}",
      "null",
      "1",
      "-1",
      "1.5",
      "true",
      "text",
      '""',
      "[null]",
      "[[]]",
      "[{}]",
      "{a: b}",
      "*a",
      "&a b",
      "!!set {a}",
    ),
  );
  const parts = [
    "spec",
    "podSelector",
    "matchLabels",
    "matchExpressions",
    "ingress",
    "from",
    "ports",
    "ipBlock",
    "metadata",
  ];
  property(
    fc.property(fc.constantFrom(...parts), anything, (part, value) => {
      const text =
        `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: Exists}]}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: []}}], ports: [{port: 1}]}]}}`;
      const start = text.indexOf(`${part}: `) + part.length + 2;
      // The value's end: its bracket's partner.
      let [end, depth] = [start, 0];
      do {
        if ("[{".includes(text[end]!)) depth++;
        if ("]}".includes(text[end]!)) depth--;
        end++;
      } while (depth > 0);
      const { policies, problems } = readPolicies("p", text.slice(0, start) + value + text.slice(end));
      assert(policies.length === 0 || problems.length === 0);
    }),
    1000,
  );
});
