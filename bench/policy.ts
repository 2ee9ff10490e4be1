/**
 * How long a verdict takes: 1,000 VMs and 1,000 policies, and what becomes of it with policies that select neither end.
 *
 * `deno task bench:policy`. Prints medians; nothing here passes or fails.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program's own output

import { addressOf } from "../src/net/address.ts";
import type { Connection, Policy, Workload } from "../src/policy/model.ts";
import { PolicySet } from "../src/policy/policy_set.ts";
import { readPolicies } from "../src/policy/read.ts";

const VMS = 1000;
const TENANTS = 50;
const ROUNDS = 200_000;

/** A VM of one of the tenants, each of which is a namespace. */
function vm(n: number): Workload {
  const namespace = `tenant${n % TENANTS}`;
  return {
    name: `vm${n}`,
    namespace,
    labels: { app: `app${n % 20}`, tier: ["web", "api", "db"][n % 3]! },
    namespaceLabels: { "kubernetes.io/metadata.name": namespace, zone: `zone${n % 5}` },
    addresses: [addressOf(Uint8Array.of(10, 77, n >> 8, n & 255))],
    ports: [{ name: "http", port: 8080, protocol: "tcp" }],
    isVm: true,
  };
}

/** A tenant's nth policy: which selects by label, or all. */
function policy(n: number, namespace = `tenant${n % TENANTS}`): string {
  const selector = n % 10 === 0 ? {} : { matchLabels: { app: `app${n % 20}` } };
  const peers = [
    { podSelector: { matchExpressions: [{ key: "tier", operator: "In", values: ["web", "api"] }] } },
    {
      namespaceSelector: { matchLabels: { zone: `zone${n % 5}` } },
      podSelector: { matchLabels: { app: `app${n % 20}` } },
    },
    { ipBlock: { cidr: "10.77.0.0/16", except: ["10.77.3.0/24"] } },
  ];
  return JSON.stringify({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: `p${n}`, namespace },
    spec: {
      podSelector: selector,
      policyTypes: ["Ingress", "Egress"],
      ingress: [{ from: [peers[n % 3]], ports: [{ port: "http" }, { port: 5000, endPort: 5999 }] }],
      egress: [{ to: [peers[(n + 1) % 3]], ports: [{ port: 8080 }] }],
    },
  });
}

function policies(count: number, namespace?: string): Policy[] {
  const all: Policy[] = [];
  // In parts, since a text is bounded.
  for (let n = 0; n < count; n += 500) {
    const texts = Array.from({ length: Math.min(500, count - n) }, (_, i) => policy(n + i, namespace) + "\n");
    const { policies, problems } = readPolicies("bench", texts.join("---\n"));
    if (problems.length > 0) throw new Error(JSON.stringify(problems[0]));
    all.push(...policies);
  }
  return all;
}

function random(below: number): number {
  return Math.floor(Math.random() * below);
}

function connection(vms: readonly Workload[]): Connection {
  const [from, to] = [vms[random(VMS)]!, vms[random(VMS)]!];
  const [source, destination] = [from.addresses[0]!, to.addresses[0]!];
  return { protocol: "tcp", from, source, to, destination, port: [8080, 5432, 5001][random(3)]!, names: [] };
}

/** Microseconds: the median and the 99th percentile of one verdict each. */
function measure(set: PolicySet, vms: readonly Workload[], next: () => Connection): { median: number; p99: number } {
  for (const each of vms) set.evaluate({ ...connection(vms), from: each, to: each === vms[0] ? vms[1] : vms[0] });
  const times = new Float64Array(ROUNDS);
  let allowed = 0;
  for (let i = 0; i < ROUNDS; i++) {
    const each = next();
    const began = performance.now();
    if (set.evaluate(each).allow) allowed++;
    times[i] = (performance.now() - began) * 1000;
  }
  times.sort();
  if (allowed === 0 || allowed === ROUNDS) throw new Error("the verdicts are all alike: nothing was measured");
  return { median: times[ROUNDS / 2]!, p99: times[ROUNDS * 99 / 100]! };
}

const vms = Array.from({ length: VMS }, (_, n) => vm(n));
const format = ({ median, p99 }: { median: number; p99: number }): string =>
  `median ${median.toFixed(2)} us, 99 % within ${p99.toFixed(2)} us`;

const thousand = policies(1000);
console.log(
  `${VMS} VMs, 1000 policies, random pairs: ${
    format(measure(new PolicySet(thousand, "allow"), vms, () => connection(vms)))
  }`,
);
const few = Array.from({ length: 100 }, () => connection(vms));
console.log(
  `the same 100 pairs again and again:      ${
    format(measure(new PolicySet(thousand, "allow"), vms, () => few[random(100)]!))
  }`,
);
for (const others of [0, 1000, 10_000]) {
  const set = new PolicySet([
    ...thousand.slice(0, 100),
    ...policies(others, "elsewhere").map((p, n) => ({ ...p, name: `e${n}` })),
  ], "allow");
  console.log(
    `100 policies and ${String(others).padStart(5)} of others:       ${
      format(measure(set, vms, () => connection(vms)))
    }`,
  );
}
