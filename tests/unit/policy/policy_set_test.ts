import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { parseAddress } from "../../../src/net/address.ts";
import { PolicySet } from "../../../src/policy/policy_set.ts";
import { reasonOf } from "../../../src/policy/reason.ts";
import { circuitPolicy, connection, networkPolicy, policiesOf, policySet, workload } from "../../support/policies.ts";

const a = workload("a", { labels: { app: "a" }, ip: "10.77.0.2", ip6: "fd77::2" });
const b = workload("b", { labels: { app: "b" }, ip: "10.77.0.3", ip6: "fd77::3" });
const other = workload("other", {
  namespace: "team",
  namespaceLabels: { team: "x" },
  labels: { app: "a" },
  ip: "10.77.0.4",
});

/** Ports of b that a may reach, of some. */
function open(
  set: PolicySet,
  from: Parameters<typeof connection>[0] = a,
  to: Parameters<typeof connection>[1] = b,
): number[] {
  return [22, 80, 81, 443, 8080].filter((port) => set.evaluate(connection(from, to, port)).allow);
}

const all = [22, 80, 81, 443, 8080];

Deno.test("without policies everything is allowed, or with the other default nothing", () => {
  assertEquals(open(policySet("")), all);
  assertEquals(open(policySet("", "deny")), []);
  // What is no VM has no default.
  assertEquals(open(policySet("", "deny"), "192.0.2.1", { ...b, isVm: false }), all);
  assertEquals(reasonOf(policySet("", "deny").evaluate(connection(a, b, 1))).split("; ").length, 2);
});

Deno.test("a VM always reaches itself", () => {
  const set = policySet(networkPolicy("{podSelector: {}, policyTypes: [Ingress, Egress]}"), "deny");
  assertEquals([open(set, a, a), open(set, a, b)], [all, []]);
});

Deno.test("policyTypes default to Ingress, and to Egress if there are egress rules", () => {
  const cases: [string, { ingress: boolean; egress: boolean }][] = [
    ["{podSelector: {}}", { ingress: true, egress: false }],
    ["{}", { ingress: true, egress: false }],
    ["{policyTypes: []}", { ingress: true, egress: false }],
    ["{podSelector: {}, egress: []}", { ingress: true, egress: false }],
    ["{podSelector: {}, egress: [{ports: [{port: 1}]}]}", { ingress: true, egress: true }],
    ["{podSelector: {}, policyTypes: [Egress]}", { ingress: false, egress: true }],
    ["{podSelector: {}, policyTypes: [Egress, Egress]}", { ingress: false, egress: true }],
  ];
  for (const [spec, expected] of cases) {
    const set = policySet(networkPolicy(spec));
    const isolates = (direction: "ingress" | "egress"): boolean => set.isolating(direction, a).length === 1;
    assertEquals({ ingress: isolates("ingress"), egress: isolates("egress") }, expected, spec);
  }
});

Deno.test("rules of a direction that policyTypes leaves out are not looked at", () => {
  const egress = "egress: [{}]";
  const set = policySet(
    networkPolicy(`{podSelector: {}, policyTypes: [Ingress], ingress: [{}], ${egress}}`, "p") + "---\n" +
      networkPolicy("{podSelector: {}, policyTypes: [Egress]}", "q"),
  );
  assertEquals(open(set), []);
});

Deno.test("a policy selects in its namespace alone", () => {
  const set = policySet(networkPolicy("{podSelector: {}}", "p", "team"));
  assertEquals([open(set, a, b), open(set, a, other)], [all, []]);
});

Deno.test("peers: podSelector in the policy's namespace, namespaceSelector in others, both together", () => {
  const from = (peers: string): [boolean, boolean, boolean] => {
    const set = policySet(networkPolicy(`{podSelector: {matchLabels: {app: b}}, ingress: [{from: ${peers}}]}`));
    return [a, other, workload("c")].map((w) => open(set, w).length > 0) as [boolean, boolean, boolean];
  };
  assertEquals(from("[{podSelector: {}}]"), [true, false, true]);
  assertEquals(from("[{podSelector: {matchLabels: {app: a}}}]"), [true, false, false]);
  assertEquals(from("[{namespaceSelector: {}}]"), [true, true, true]);
  assertEquals(from("[{namespaceSelector: {matchLabels: {team: x}}}]"), [false, true, false]);
  assertEquals(from("[{namespaceSelector: {}, podSelector: {matchLabels: {app: a}}}]"), [true, true, false]);
  assertEquals(from("[{namespaceSelector: {matchLabels: {team: x}}, podSelector: {matchLabels: {app: b}}}]"), [
    false,
    false,
    false,
  ]);
  assertEquals(from("[{namespaceSelector: {matchLabels: {team: x}}}, {podSelector: {matchLabels: {app: a}}}]"), [
    true,
    true,
    false,
  ]);
  assertEquals(from("[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: team}}}]"), [false, true, false]);
  assertEquals([from("[]"), from("null")], [[true, true, true], [true, true, true]]);
});

Deno.test("ports: numbers, ranges, names, all, and each protocol for itself", () => {
  const server = workload("b", {
    ip: "10.77.0.3",
    ports: [{ name: "web", port: 8080, protocol: "tcp" }, { name: "web", port: 443, protocol: "udp" }],
  });
  const open = (ports: string, protocol: "tcp" | "udp" | "sctp" = "tcp"): number[] => {
    const set = policySet(networkPolicy(`{podSelector: {}, ingress: [{ports: ${ports}}]}`));
    return all.filter((port) => set.evaluate(connection(a, server, port, { protocol })).allow);
  };
  assertEquals(open("[{port: 80}]"), [80]);
  assertEquals(open("[{port: 80}]", "udp"), []);
  assertEquals(open("[{port: 80, endPort: 443}]"), [80, 81, 443]);
  assertEquals(open("[{port: 80, endPort: 80}]"), [80]);
  assertEquals(open("[{port: web}]"), [8080]);
  assertEquals(open("[{port: web, protocol: UDP}]", "udp"), [443]);
  assertEquals(open("[{port: web, protocol: SCTP}]", "sctp"), []);
  assertEquals(open("[{port: nothing}]"), []);
  assertEquals(open("[{}]"), all);
  assertEquals(open("[{protocol: UDP}]"), []);
  assertEquals(open("[{protocol: UDP}]", "udp"), all);
  assertEquals([open("[]"), open("[]", "sctp")], [all, all]);
  assertEquals(open("[{port: 22}, {port: 443}]"), [22, 443]);
});

Deno.test("names of ports are the destination's, and nothing outside has any", () => {
  const server = workload("b", { ip: "10.77.0.3", ports: [{ name: "web", port: 80, protocol: "tcp" }] });
  const set = policySet(networkPolicy("{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: web}]}]}"));
  assertEquals(open(set, { ...a, ports: [{ name: "web", port: 22, protocol: "tcp" }] }, server), [80]);
  assertEquals(open(set, server, "192.0.2.1"), []);
});

Deno.test("ipBlock matches what is outside and VMs alike, in its family, without its exceptions", () => {
  const set = policySet(networkPolicy(`{podSelector: {matchLabels: {app: b}}, ingress: [
    {from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.77.0.4/32, 10.1.0.0/16]}}]},
    {from: [{ipBlock: {cidr: "fd00::/8", except: ["fd00:1::/32"]}}]}]}`));
  const from = (text: string): boolean => open(set, text).length > 0;
  assertEquals([open(set, a).length, open(set, other).length], [5, 0]);
  const outside = ["10.2.0.1", "10.1.0.1", "11.0.0.1", "fd00:2::1", "fd00:1::1", "2001:db8::1"];
  assertEquals(outside.map(from), [true, false, false, true, false, false]);
  // A VM comes by the address that it really uses.
  const six = connection(a, b, 80, { source: parseAddress("fd00:1::9"), destination: b.addresses[1]! });
  assertEquals(set.evaluate(six).allow, false);
  assertEquals(set.evaluate({ ...six, source: parseAddress("fd77::2") }).allow, true);
});

Deno.test("0.0.0.0/0 is everything of IPv4, and bits behind a prefix do not count", () => {
  const set = policySet(networkPolicy("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"));
  assertEquals([open(set, "1.2.3.4").length, open(set, "255.255.255.255").length, open(set, "::1").length], [5, 5, 0]);
  const host = policySet(networkPolicy("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.77/24}}]}]}"));
  assertEquals([open(host, "192.0.2.1").length, open(host, "192.0.3.1").length], [5, 0]);
});

Deno.test("both the source's egress and the destination's ingress must allow", () => {
  const egress = networkPolicy(
    "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{ports: [{port: 80}, {port: 22}]}]}",
    "e",
  );
  const ingress = networkPolicy(
    "{podSelector: {matchLabels: {app: b}}, ingress: [{ports: [{port: 80}, {port: 443}]}]}",
    "i",
  );
  const set = policySet(`${egress}---\n${ingress}`);
  assertEquals(open(set), [80]);
  const verdict = set.evaluate(connection(a, b, 443));
  assertEquals([verdict.egress?.allow, verdict.ingress?.allow], [false, true]);
  assertEquals(reasonOf(verdict), "egress of a: denied, since no rule allows it, and default/e isolates it");
  assertEquals(
    reasonOf(set.evaluate(connection(a, b, 80))),
    "egress of a: allowed by default/e spec.egress[0]; ingress of b: allowed by default/i spec.ingress[0]",
  );
});

Deno.test("policies add up", () => {
  const set = policySet(
    [80, 81].map((port) => networkPolicy(`{podSelector: {}, ingress: [{ports: [{port: ${port}}]}]}`, `p${port}`)).join(
      "---\n",
    ),
  );
  assertEquals(open(set), [80, 81]);
});

Deno.test("a CircuitPolicy denies what others allow", () => {
  const deny = circuitPolicy("{podSelector: {matchLabels: {app: a}}, egress: [{action: Deny, ports: [{port: 22}]}]}");
  assertEquals(open(policySet(deny)), [80, 81, 443, 8080]);
  const allow = networkPolicy("{podSelector: {}, policyTypes: [Egress], egress: [{}]}");
  assertEquals(open(policySet(`${deny}---\n${allow}`)), [80, 81, 443, 8080]);
});

Deno.test("a CircuitPolicy isolates where it allows, unless policyTypes says otherwise", () => {
  const rules = "egress: [{action: Allow, ports: [{port: 22}]}]";
  assertEquals(open(policySet(circuitPolicy(`{podSelector: {}, ${rules}}`))), [22]);
  assertEquals(open(policySet(circuitPolicy(`{podSelector: {}, policyTypes: [Ingress], ${rules}}`))), []);
  assertEquals(open(policySet(circuitPolicy("{podSelector: {}, egress: [{action: Deny, ports: [{port: 22}]}]}"))), [
    80,
    81,
    443,
    8080,
  ]);
});

Deno.test("the lowest priority number decides, and deny before allow where they are equal", () => {
  const rule = (action: string, priority: number, ports: string, name: string): string =>
    circuitPolicy(`{priority: ${priority}, podSelector: {}, egress: [{action: ${action}, ports: ${ports}}]}`, name);
  const documents = (...texts: string[]): string => texts.join("---\n");
  assertEquals(open(policySet(documents(rule("Allow", 10, "[{port: 22}]", "x"), rule("Deny", 20, "[]", "y")))), [22]);
  assertEquals(open(policySet(documents(rule("Allow", 20, "[{port: 22}]", "x"), rule("Deny", 10, "[]", "y")))), []);
  assertEquals(open(policySet(documents(rule("Allow", 10, "[]", "x"), rule("Deny", 10, "[{port: 22}]", "y")))), [
    80,
    81,
    443,
    8080,
  ]);
  // NetworkPolicies come behind all priorities, 1000 too.
  const last = rule("Deny", 1000, "[{port: 80}]", "x");
  const network = networkPolicy(
    "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 80}, {port: 81}]}]}",
  );
  assertEquals(open(policySet(documents(network, last))), [81]);
});

Deno.test("a CircuitPolicy selects in several namespaces", () => {
  const set = policySet(
    circuitPolicy("{namespaceSelector: {matchLabels: {team: x}}, podSelector: {}, ingress: [{action: Deny}]}"),
  );
  assertEquals([open(set, a, other), open(set, a, b)], [[], all]);
});

Deno.test("domain names match what the source was told, of destinations outside", () => {
  const set = policySet(
    circuitPolicy('{podSelector: {}, egress: [{action: Allow, to: [{domainNames: ["*.example.com", api.test]}]}]}'),
  );
  const to = (...names: string[]): boolean => set.evaluate(connection(a, "192.0.2.1", 443, { names })).allow;
  assertEquals([to("www.example.com"), to("a.b.example.com"), to("other.test", "api.test")], [true, true, true]);
  assertEquals([to(), to("example.com"), to("wwwexample.com"), to("api.test.evil"), to("x.api.test")], [
    false,
    false,
    false,
    false,
    false,
  ]);
  assertEquals(set.evaluate(connection(a, b, 443, { names: ["api.test"] })).allow, false);
});

Deno.test("what is known of a workload is known by its identity", () => {
  const set = policySet(networkPolicy("{podSelector: {matchLabels: {app: b}}}"));
  assertEquals(open(set), []);
  assertEquals(open(set, a, { ...b, labels: {} }), all);
});

Deno.test("labels with names of Object's own are only labels", () => {
  const set = policySet(networkPolicy("{podSelector: {matchExpressions: [{key: constructor, operator: Exists}]}}"));
  assertEquals([open(set), open(set, a, workload("c", { labels: { constructor: "x" } }))], [all, []]);
});

Deno.test("the revision is that of what the policies say, in any order", () => {
  const [x, y] = [networkPolicy("{podSelector: {}}", "x"), networkPolicy("{}", "y")];
  const revision = (text: string, action: "allow" | "deny" = "allow"): string => policySet(text, action).revision;
  assertEquals(revision(`${x}---\n${y}`), revision(`# comment\n${y}---\n${x}`));
  assertEquals(revision(x), revision(networkPolicy("{policyTypes: [Ingress]}", "x")));
  const different = [
    x,
    y,
    networkPolicy("{podSelector: {matchLabels: {a: b}}}", "x"),
    networkPolicy("{ingress: [{}]}", "x"),
    networkPolicy("{ingress: [{from: [{podSelector: {}}]}]}", "x"),
    networkPolicy("{ingress: [{from: [{namespaceSelector: {}}]}]}", "x"),
    networkPolicy("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}", "x"),
    networkPolicy("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/9]}}]}]}", "x"),
    networkPolicy("{ingress: [{ports: [{port: 1}]}]}", "x"),
    networkPolicy("{ingress: [{ports: [{port: 1, endPort: 2}]}]}", "x"),
    networkPolicy("{}", "x", "other"),
    circuitPolicy("{}", "x"),
    circuitPolicy("{priority: 1}", "x"),
    circuitPolicy("{egress: [{action: Deny, to: [{domainNames: [a.b]}]}]}", "x"),
  ];
  assertEquals(new Set(different.map((text) => revision(text))).size, different.length);
  assertNotEquals(revision(x), revision(x, "deny"));
  assert(/^[0-9a-f]{12}$/.test(revision("")));
  assertEquals(new PolicySet(policiesOf(x), "allow").revision, revision(x));
});
