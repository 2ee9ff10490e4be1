import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { CaseError, parseCases, runCases } from "../../../src/policy/cases.ts";
import { networkPolicy } from "../../support/policies.ts";

const file = new URL("../../data/networkpolicy_cases.json", import.meta.url);

Deno.test("runCases() agrees with what Kubernetes' recipes, documentation and analysers say", async () => {
  const cases = parseCases("cases", await Deno.readTextFile(file));
  const { passed, failed, mismatches } = runCases(cases);
  assertEquals(mismatches, []);
  assertEquals([cases.length, passed, failed], [52, 1028, 0]);
});

Deno.test("runCases() tells what is not as expected", async () => {
  const cases = parseCases("cases", await Deno.readTextFile(file));
  const turned = cases.map((each) => ({
    ...each,
    probes: each.probes.map((probe) => ({
      ...probe,
      expect: probe.expect === "allow" ? "deny" as const : "allow" as const,
    })),
  }));
  const { passed, failed, mismatches } = runCases(turned);
  assertEquals([passed, failed, mismatches.length], [0, 1028, 1028]);
  assertStringIncludes(
    mismatches[1]!,
    "recipe 01: deny all traffic to an application: default/test -> default/web 80/tcp: expected allow, got deny " +
      "(ingress of default/web: denied, since no rule allows it, and default/web-deny-all isolates it)",
  );
});

Deno.test("runCases() fails the probes of a case whose policies are wrong, or that names nobody", () => {
  const endpoints = [{ name: "a", ip: "10.0.0.1" }];
  const probe = { from: "a", to: "b", protocol: "TCP", port: 1, expect: "allow" as const };
  const results = runCases([
    { name: "wrong", policyYaml: "kind: X", endpoints, probes: [probe, probe] },
    { name: "nobody", policyYaml: "", endpoints, probes: [probe] },
  ]);
  assertEquals(results.failed, 3);
  assertStringIncludes(results.mismatches[0]!, "wrong: policyYaml:1:1: apiVersion and kind are expected");
  assertStringIncludes(results.mismatches[2]!, 'nobody: a -> b: "b" is not an IP address, nor an endpoint\'s name');
});

Deno.test("runCases() takes IPv4-mapped addresses for IPv4's, as a switch does", () => {
  const policyYaml = networkPolicy('{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: "::ffff:10.0.0.0/104"}}]}]}');
  const endpoints = [{ name: "a", ip: "192.0.2.1" }, { name: "b", ip: "::ffff:10.0.0.1" }];
  const probes = ["10.9.9.9", "::ffff:10.9.9.9", "b"].map((from) => (
    { from, to: "a", protocol: "TCP" as const, port: 1, expect: "allow" as const }
  ));
  assertEquals(runCases([{ name: "mapped", policyYaml, endpoints, probes }]).mismatches, []);
});

Deno.test("parseCases() says what is wrong with a file", () => {
  const cases = [
    ["{", "c.json: "],
    ["{}", "c.json: the file: a mapping is not a list"],
    ['[{"name": "a"}]', "c.json: [0]: policyYaml is missing"],
    [
      '[{"name": "a", "policyYaml": "", "endpoints": [], "probes": [{"from": "a", "to": "b", "protocol": "TCP", "port": 0, "expect": "deny"}]}]',
      "c.json: [0].probes[0].port: 0 is wrong: minimum",
    ],
  ] as const;
  for (const [text, message] of cases) assertThrows(() => parseCases("c.json", text), CaseError, message);
});
