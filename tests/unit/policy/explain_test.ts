import { assertEquals } from "@std/assert";
import { explain, formatExplanation } from "../../../src/policy/explain.ts";
import { circuitPolicy, connection, networkPolicy, policySet, workload } from "../../support/policies.ts";

const web = workload("web", { labels: { app: "web" }, ip: "10.77.0.2" });
const db = workload("db", { labels: { app: "db" }, ip: "10.77.0.3" });

Deno.test("explain() names every policy that selects an end, and what each rule lacks", () => {
  const set = policySet([
    networkPolicy(
      "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}, {ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 5432}]}, {ports: [{port: 8125, protocol: UDP}]}]}",
      "db",
    ),
    networkPolicy("{podSelector: {matchLabels: {app: nobody}}}", "nobody"),
    circuitPolicy('{priority: 5, podSelector: {}, egress: [{action: Deny, to: [{domainNames: ["*.test"]}]}]}', "names"),
  ].join("---\n"));
  assertEquals(
    formatExplanation(explain(set, connection(web, db, 5432))),
    `web -> db 5432/tcp: denied (policy revision ${set.revision})

egress of web: allowed, since no policy isolates it
  CircuitPolicy default/names (p.yaml:5): does not isolate web, priority 5
    spec.egress[0] deny (p.yaml:5): does not match: to: *.test

ingress of db: denied, since no rule allows it, and default/db isolates it
  NetworkPolicy default/db (p.yaml:1): isolates db
    spec.ingress[0] allow (p.yaml:1): does not match: from: app=api in namespace default, or 192.0.2.0/24
    spec.ingress[1] allow (p.yaml:1): does not match: ports: 8125/udp
`,
  );
});

Deno.test("explain() says when there is nothing to say", () => {
  const set = policySet("");
  assertEquals(
    formatExplanation(explain(set, connection("192.0.2.9", db, 1))),
    `192.0.2.9 -> db 1/tcp: allowed (policy revision ${set.revision})

ingress of db: allowed, since no policy isolates it
  no policy selects db for ingress
`,
  );
  assertEquals(formatExplanation(explain(set, connection(db, db, 1))).split("\n")[1], "a VM always reaches itself");
});
