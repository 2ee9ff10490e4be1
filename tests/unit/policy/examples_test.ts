/** The examples of policies/ say what they claim to. */

import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { switchWorkload } from "../../../src/host/workloads.ts";
import { parseAddress } from "../../../src/net/address.ts";
import { PolicyFiles } from "../../../src/policy/files.ts";
import type { Workload } from "../../../src/policy/model.ts";
import { PolicySet } from "../../../src/policy/policy_set.ts";
import { connection, workload } from "../../support/policies.ts";

const directory = fromFileUrl(new URL("../../../policies", import.meta.url));
const self = switchWorkload([parseAddress("10.77.0.1"), parseAddress("fd77:6373:766e::1")], new Map());

async function load(...names: string[]): Promise<PolicySet> {
  return new PolicySet(await new PolicyFiles(names.map((name) => `${directory}/${name}`)).read(), "allow");
}

/** `from`, `to`, port, what is expected, and names of the destination. */
type Expectation = [Workload | string, Workload | string, number, boolean, ...string[]];

function check(set: PolicySet, expectations: readonly Expectation[]): void {
  for (const [from, to, port, expected, ...names] of expectations) {
    const what = [from, to].map((end) => typeof end === "string" ? end : end.name).join(" -> ");
    assertEquals([what, port, set.evaluate(connection(from, to, port, { names })).allow], [what, port, expected]);
  }
}

const web = workload("web", {
  labels: { app: "web" },
  ip: "10.77.0.2",
  ports: [{ name: "http", port: 80, protocol: "tcp" }],
});
const db = workload("db", {
  labels: { app: "db" },
  ip: "10.77.0.3",
  ports: [{ name: "postgres", port: 5432, protocol: "tcp" }],
});
const shop = workload("shop", { labels: { app: "shop" }, ip: "10.77.0.4" });
const other = workload("other", { ip: "10.77.0.5" });

Deno.test("all examples can be read together", async () => {
  assertEquals((await new PolicyFiles([directory]).read()).length, 10);
});

Deno.test("default-deny.yaml", async () => {
  check(await load("default-deny.yaml"), [
    [web, db, 80, false],
    [web, "192.0.2.1", 443, false],
    ["192.0.2.1", web, 80, false],
    [web, self, 53, true],
    [web, self, 80, false],
    [workload("elsewhere", { namespace: "team" }), "192.0.2.1", 443, true],
  ]);
});

Deno.test("web-db.yaml, by itself and on the ground of default-deny.yaml", async () => {
  const common: Expectation[] = [
    [web, db, 5432, true],
    [web, db, 5433, false],
    [db, web, 80, false],
    ["192.0.2.1", web, 80, true],
    ["192.0.2.1", web, 22, false],
    [other, db, 5432, false],
  ];
  check(await load("web-db.yaml"), [...common, [other, web, 80, true], [web, self, 53, false]]);
  check(await load("web-db.yaml", "default-deny.yaml"), [...common, [other, web, 80, false], [web, self, 53, true]]);
});

Deno.test("sandbox.yaml", async () => {
  const [one, two] = ["10.77.0.8", "10.77.0.9"].map((ip) => workload(`sandbox${ip}`, { namespace: "sandboxes", ip }));
  check(await load("sandbox.yaml"), [
    [one!, "192.0.2.1", 443, true, "api.example.com"],
    [one!, "192.0.2.1", 443, true, "files.packages.example"],
    [one!, "192.0.2.1", 80, false, "api.example.com"],
    [one!, "192.0.2.1", 443, false, "packages.example.evil.test"],
    [one!, "192.0.2.1", 443, false],
    [one!, "10.1.2.3", 443, false, "api.example.com"],
    [one!, "192.168.1.1", 443, false, "packages.example"],
    [one!, two!, 443, false],
    [one!, web, 443, false],
    [web, one!, 443, false],
    ["192.0.2.1", one!, 443, false],
  ]);
});

Deno.test("published-service.yaml", async () => {
  check(await load("published-service.yaml"), [
    ["192.0.2.1", shop, 80, true],
    ["2001:db8::1", shop, 80, true],
    ["203.0.113.9", shop, 80, false],
    ["198.51.100.7", shop, 9090, true],
    ["192.0.2.1", shop, 9090, false],
    ["198.51.100.7", shop, 22, false],
    [shop, "192.0.2.1", 443, true],
  ]);
});

Deno.test("tenants.yaml", async () => {
  const [red1, red2] = ["10.77.1.1", "10.77.1.2"].map((ip) => workload(ip, { namespace: "red", ip }));
  const blue = workload("blue1", { namespace: "blue", ip: "10.77.2.1" });
  const fresh = workload("green1", { namespace: "green", ip: "10.77.3.1" });
  const monitor = workload("monitor", {
    namespace: "monitoring",
    namespaceLabels: { role: "monitoring" },
    ip: "10.77.4.1",
  });
  check(await load("tenants.yaml"), [
    [red1!, red2!, 80, true],
    [red1!, blue, 80, false],
    [blue, red1!, 80, false],
    [red1!, fresh, 80, false],
    [red1!, "192.0.2.1", 443, true],
    [monitor, blue, 9100, true],
    [monitor, fresh, 9100, true],
    [monitor, blue, 80, false],
    [blue, monitor, 80, false],
  ]);
});
