import { assertEquals } from "@std/assert";
import { diff, formatChange } from "../../../src/policy/diff.ts";
import { circuitPolicy, networkPolicy, policySet, workload } from "../../support/policies.ts";

const web = workload("web", { labels: { app: "web" }, ip: "10.77.0.2" });
const db = workload("db", {
  labels: { app: "db" },
  ip: "10.77.0.3",
  ports: [{ name: "postgres", port: 5432, protocol: "tcp" }],
});

function changes(before: string, after: string): string[] {
  return [...diff(policySet(before), policySet(after), [web, db])].map((change) =>
    formatChange(change).split(": ")[0]!
  );
}

Deno.test("diff() names ports by their range, VMs, addresses outside and names", () => {
  const isolate = networkPolicy(
    "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}], ports: [{port: postgres}]}]}",
  );
  assertEquals(
    changes("", isolate),
    [
      "- deny  web -> db 1-5431/tcp",
      "- deny  web -> db 5433-65535/tcp",
      "- deny  web -> db all ports/udp",
      "- deny  0.0.0.0-255.255.255.255 -> db all ports/tcp",
      "- deny  0.0.0.0-255.255.255.255 -> db all ports/udp",
      "- deny  :: -> db all ports/tcp",
      "- deny  :: -> db all ports/udp",
    ].map((line) => line.replace(":: -> db", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff -> db")),
  );
  assertEquals(changes(isolate, isolate), []);
});

Deno.test("diff() tells addresses apart where rules do", () => {
  const base = networkPolicy("{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}");
  const block = networkPolicy(
    "{podSelector: {matchLabels: {app: web}}, egress: [{to: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}], ports: [{port: 443}]}], policyTypes: [Egress]}",
    "q",
  );
  assertEquals(changes(base, `${base}---\n${block}`), ["+ allow web -> 192.0.2.0-192.0.2.127 443/tcp"]);
  const names = circuitPolicy(
    '{podSelector: {matchLabels: {app: web}}, egress: [{action: Allow, to: [{domainNames: ["*.example.com", api.test]}], ports: [{port: 443}]}]}',
  );
  assertEquals(changes(base, `${base}---\n${names}`), [
    "+ allow web -> *.example.com 443/tcp",
    "+ allow web -> api.test 443/tcp",
  ]);
});

Deno.test("diff() joins ranges of addresses that change alike", () => {
  const some = networkPolicy(
    "{podSelector: {matchLabels: {app: web}}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/9}}, {ipBlock: {cidr: 10.128.0.0/9}}]}], policyTypes: [Egress]}",
  );
  const none = networkPolicy("{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}");
  assertEquals(changes(none, some).filter((line) => line.includes("tcp")), [
    "+ allow web -> db all ports/tcp",
    "+ allow web -> 10.0.0.0-10.255.255.255 all ports/tcp",
  ]);
});
