import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Attempt, OnDeny, Verdict } from "../../../src/circuit/verdict.ts";
import { Enforcer } from "../../../src/host/enforcer.ts";
import { switchWorkload } from "../../../src/host/workloads.ts";
import { parseAddress } from "../../../src/net/address.ts";
import type { Action } from "../../../src/policy/model.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { circuitPolicy, networkPolicy, policySet, workload } from "../../support/policies.ts";

const gateway = parseAddress("10.77.0.1");
const self = switchWorkload([gateway, parseAddress("fd77::1")], new Map());

function enforcer(yaml: string, more: { default?: Action; onDeny?: OnDeny; audit?: string[] } = {}): Enforcer {
  const set = policySet(yaml, more.default);
  const made = new Enforcer(() => set, self, new FakeClock());
  for (const [name, ip] of [["web", "10.77.0.2"], ["db", "10.77.0.3"]] as const) {
    made.add({
      workload: workload(name, { labels: { app: name }, ip, ip6: ip.replace("10.77.0.", "fd77::") }),
      onDeny: more.onDeny ?? "refuse",
      audit: more.audit?.includes(name) ?? false,
    });
  }
  return made;
}

function attempt(from: string, to: string, address: string, port: number, source = "10.77.0.2"): Attempt {
  return {
    protocol: "tcp",
    from,
    source: { address: parseAddress(source), port: 40_000 },
    to,
    destination: { address: parseAddress(address), port },
  };
}

const denyAll = networkPolicy("{podSelector: {}, policyTypes: [Ingress, Egress]}", "deny");

Deno.test("Enforcer says why, by which set, and by which rules", () => {
  const rules = enforcer(
    `${denyAll}---\n${networkPolicy("{podSelector: {matchLabels: {app: db}}, ingress: [{}]}", "db")}`,
  );
  const verdict = rules.verdict(attempt("web", "db", "10.77.0.3", 80));
  assertEquals([verdict.allow, verdict.onDeny, verdict.revision], [false, "refuse", rules.current().revision]);
  assertEquals(verdict.reason, "egress of web: denied, since no rule allows it, and default/deny isolates it");
  assertEquals(verdict.details, {
    egress: { verdict: "deny", basis: "isolated", policies: ["default/deny"] },
    ingress: {
      verdict: "allow",
      basis: "rule",
      rule: { policy: "default/db", path: "spec.ingress[0]", at: "p.yaml:3" },
    },
  });
});

Deno.test("Enforcer: a published port's client is outside, and the VM's ingress decides", () => {
  const rules = enforcer(networkPolicy("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]}"));
  assertEquals(rules.verdict(attempt("host", "web", "10.77.0.2", 80, "192.0.2.9")).allow, true);
  assertEquals(rules.verdict(attempt("host", "web", "10.77.0.2", 80, "198.51.100.9")).allow, false);
});

Deno.test("Enforcer denies what comes from, or leads to, a VM that it does not know", () => {
  const rules = enforcer("");
  for (const [from, to] of [["ghost", "web"], ["web", "ghost"], ["ghost", "host"], ["", "web"]] as const) {
    const verdict = rules.verdict(attempt(from, to, "10.77.0.3", 80));
    assertEquals(verdict.allow, false);
    assertStringIncludes(verdict.reason, "is not on the switch");
  }
  rules.remove("web");
  assertEquals(rules.verdict(attempt("web", "db", "10.77.0.3", 80)).allow, false);
});

Deno.test("Enforcer: onDeny is the VM's that connects, or that is connected to from outside", () => {
  const set = policySet(denyAll);
  const rules = new Enforcer(() => set, self, new FakeClock());
  rules.add({ workload: workload("web", { ip: "10.77.0.2" }), onDeny: "drop", audit: false });
  rules.add({ workload: workload("db", { ip: "10.77.0.3" }), onDeny: "prohibit", audit: false });
  const said = (from: string, to: string, address: string): unknown =>
    rules.verdict(attempt(from, to, address, 1)).onDeny;
  assertEquals([said("web", "db", "10.77.0.3"), said("db", "web", "10.77.0.2"), said("host", "db", "10.77.0.3")], [
    "drop",
    "prohibit",
    "prohibit",
  ]);
});

Deno.test("Enforcer: audit lets pass what only VMs on audit would deny", () => {
  const to = (audit: string[]): [boolean, boolean | undefined] => {
    const { allow, wouldDeny } = enforcer(denyAll, { audit }).verdict(attempt("web", "db", "10.77.0.3", 80));
    return [allow, wouldDeny];
  };
  assertEquals([to([]), to(["web"]), to(["db"]), to(["web", "db"])], [
    [false, undefined],
    [false, undefined],
    [false, undefined],
    [true, true],
  ]);
  const egress = enforcer(networkPolicy("{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}"), {
    audit: ["web"],
  });
  assertEquals(egress.verdict(attempt("web", "db", "10.77.0.3", 80)).wouldDeny, true);
});

Deno.test("Enforcer: the switch's resolver is where Kubernetes' is", () => {
  const dns = networkPolicy(
    "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: 53}]}]}",
    "dns",
  );
  const rules = enforcer(dns);
  assertEquals(rules.verdict(attempt("web", "host", "10.77.0.1", 53)).allow, true);
  assertEquals(rules.verdict(attempt("web", "host", "10.77.0.1", 54)).allow, false);
  assertEquals(rules.verdict(attempt("web", "host", "192.0.2.53", 53)).allow, false);
  assertEquals([rules.mayResolve("web", "any.test"), enforcer(denyAll).mayResolve("web", "any.test")], ["yes", "no"]);
  assertEquals([enforcer("").mayResolve("web", "any.test"), enforcer("").mayResolve("ghost", "any.test")], [
    "yes",
    "no",
  ]);
});

Deno.test("Enforcer: a VM whose rules name domains may ask for these, and reach what it was told", () => {
  const names = circuitPolicy(
    '{podSelector: {matchLabels: {app: web}}, egress: [{action: Allow, to: [{domainNames: ["*.example.com"]}], ports: [{port: 443}]}]}',
  );
  const rules = enforcer(`${denyAll}---\n${names}`);
  const asked = ["a.example.com", "example.com", "com", ".", "evil.test"];
  assertEquals(asked.map((name) => rules.mayResolve("web", name)), ["yes", "below", "below", "below", "no"]);
  assertEquals([rules.mayResolve("db", "a.example.com"), rules.verdict(attempt("db", "host", "10.77.0.1", 53)).allow], [
    "no",
    false,
  ]);
  assertEquals(rules.verdict(attempt("web", "host", "10.77.0.1", 53)).allow, true);
  const reach = (before?: Verdict): boolean => rules.verdict(attempt("web", "host", "203.0.113.9", 443), before).allow;
  assertEquals(reach(), false);
  rules.resolved("db", "a.example.com", [parseAddress("203.0.113.9")], 60);
  assertEquals(reach(), false);
  rules.resolved("web", "evil.test", [parseAddress("203.0.113.9")], 60);
  assertEquals(reach(), false);
  rules.resolved("web", "a.example.com", [parseAddress("203.0.113.9"), "a.name"], 60);
  const verdict = rules.verdict(attempt("web", "host", "203.0.113.9", 443));
  assertEquals([verdict.allow, verdict.names], [true, ["evil.test", "a.example.com"]]);
  assertEquals(rules.verdict(attempt("web", "host", "203.0.113.9", 80)).allow, false);
  // An AAAA record may say an IPv4 address.
  rules.resolved("web", "b.example.com", [parseAddress("::ffff:203.0.113.10")], 60);
  assertEquals(rules.verdict(attempt("web", "host", "203.0.113.10", 443)).names, ["b.example.com"]);
  // The names of the time when it was set up count, even when they are not known any more.
  rules.remove("web");
  rules.add({ workload: workload("web", { labels: { app: "web" }, ip: "10.77.0.2" }), onDeny: "refuse", audit: false });
  assertEquals([reach(), reach(verdict)], [false, true]);
});

Deno.test("Enforcer: a rule that denies the resolver decides, whatever names other rules have", () => {
  const names = circuitPolicy("{podSelector: {}, egress: [{action: Allow, to: [{domainNames: [a.test]}]}]}");
  const deny = circuitPolicy(
    "{priority: 1, podSelector: {}, egress: [{action: Deny, to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}",
    "d",
  );
  const asks = (text: string): boolean => enforcer(text).verdict(attempt("web", "host", "10.77.0.1", 53)).allow;
  assertEquals([asks(names), asks(`${names}---\n${deny}`)], [true, false]);
});

Deno.test("Enforcer: a name that leads to a VM gives no way to it", () => {
  const names = circuitPolicy("{podSelector: {}, egress: [{action: Allow, to: [{domainNames: [db.example.com]}]}]}");
  const rules = enforcer(names);
  rules.resolved("web", "db.example.com", [parseAddress("10.77.0.3"), parseAddress("10.77.0.1")], 60);
  assert(!rules.verdict(attempt("web", "db", "10.77.0.3", 80)).allow);
  assert(!rules.verdict(attempt("web", "host", "10.77.0.1", 80)).allow);
});
