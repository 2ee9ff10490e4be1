import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseAddress } from "../../../src/net/address.ts";
import { diff } from "../../../src/policy/diff.ts";
import { explain } from "../../../src/policy/explain.ts";
import type { PolicyProtocol, Workload } from "../../../src/policy/model.ts";
import { PolicySet } from "../../../src/policy/policy_set.ts";
import { workload } from "../../support/policies.ts";
import { policiesOf } from "../../support/policies.ts";
import { oracle, type OracleConnection, type OracleDocument, type OracleEnd } from "../../support/policy_oracle.ts";
import { property } from "../../support/property.ts";

// Few of everything, so that what is random meets.
const keys = ["app", "tier"];
const values = ["a", "b", ""];
const namespaces = ["default", "team"];
const ips = ["10.0.0.1", "10.0.0.2", "10.1.0.1", "192.0.2.7"];
const cidrs = ["10.0.0.0/8", "10.0.0.0/24", "10.1.0.0/16", "0.0.0.0/0", "192.0.2.7/32"];
const names = ["api.example.com", "www.example.com", "example.com"];

const labels = fc.dictionary(fc.constantFrom(...keys), fc.constantFrom(...values), { maxKeys: 2 });
const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined });

const requirement = fc.constantFrom("In", "NotIn", "Exists", "DoesNotExist").chain((operator) =>
  fc.record({
    key: fc.constantFrom(...keys),
    operator: fc.constant(operator),
    values: operator.endsWith("In")
      ? fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 2 })
      : fc.constant(undefined),
  })
);
const selector = fc.record({
  matchLabels: optional(labels),
  matchExpressions: optional(fc.array(requirement, { maxLength: 2 })),
});
const block = fc.record({ cidr: fc.constantFrom(...cidrs) }).chain(({ cidr }) => {
  const within = { "10.0.0.0/8": ["10.0.0.0/24", "10.1.0.0/16"], "0.0.0.0/0": ["10.0.0.0/8", "192.0.2.7/32"] }[cidr] ??
    [];
  return fc.record({ cidr: fc.constant(cidr), except: optional(fc.subarray(within)) });
});
const peer = (withNames: boolean): fc.Arbitrary<Record<string, unknown>> =>
  fc.oneof(
    fc.record({ podSelector: selector }),
    fc.record({ namespaceSelector: selector }),
    fc.record({ podSelector: selector, namespaceSelector: selector }),
    fc.record({ ipBlock: block }),
    ...(withNames
      ? [
        fc.record({
          domainNames: fc.uniqueArray(fc.constantFrom("*.example.com", ...names), { minLength: 1, maxLength: 2 }),
        }),
      ]
      : []),
  );
const port = fc.record({
  protocol: optional(fc.constantFrom("TCP", "UDP", "SCTP")),
  port: optional(fc.constantFrom<(number | string)[]>(80, 443, "web")),
}).chain(({ protocol, port }) =>
  fc.record({
    protocol: fc.constant(protocol),
    port: fc.constant(port),
    endPort: typeof port === "number" ? optional(fc.constantFrom(port, 443)) : fc.constant(undefined),
  })
);
const rules = (field: "from" | "to", actions: boolean, withNames: boolean): fc.Arbitrary<unknown> =>
  optional(fc.array(
    fc.record({
      ...(actions && { action: fc.constantFrom("Allow", "Deny") }),
      [field]: optional(fc.array(peer(withNames), { maxLength: 2 })),
      ports: optional(fc.array(port, { maxLength: 2 })),
    }),
    { maxLength: 2 },
  ));
const policyTypes = optional(fc.subarray(["Ingress", "Egress"]));
const documents = fc.array(
  fc.oneof(
    fc.record({
      apiVersion: fc.constant("networking.k8s.io/v1"),
      kind: fc.constant("NetworkPolicy"),
      spec: fc.record({
        podSelector: optional(selector),
        policyTypes,
        ingress: rules("from", false, false),
        egress: rules("to", false, false),
      }),
    }),
    fc.record({
      apiVersion: fc.constant("policy.csvn/v1"),
      kind: fc.constant("CircuitPolicy"),
      spec: fc.record({
        priority: optional(fc.constantFrom(0, 10, 1000)),
        podSelector: optional(selector),
        namespaceSelector: optional(selector),
        policyTypes,
        ingress: rules("from", true, false),
        egress: rules("to", true, true),
      }),
    }),
  ).chain((document) =>
    fc.constantFrom(...namespaces).map((namespace) => ({ ...document, metadata: { name: "", namespace } }))
  ),
  { maxLength: 4 },
).map((all) =>
  // As YAML is written: what is undefined is not there.
  JSON.parse(JSON.stringify(all.map((each, i) => ({ ...each, metadata: { ...each.metadata, name: `p${i}` } })))) as (
    & OracleDocument
    & { apiVersion: string }
  )[]
);
const vm = fc.record({
  namespace: fc.constantFrom(...namespaces),
  labels,
  ports: fc.subarray([{ name: "web", port: 80, protocol: "TCP" }, { name: "web", port: 443, protocol: "UDP" }]),
});

interface World {
  readonly vms: readonly Workload[];
  readonly ends: readonly OracleEnd[];
}

const world = fc.array(vm, { minLength: 2, maxLength: 3 }).map((specs): World => {
  const ends = specs.map((spec, i): OracleEnd => ({
    ip: ips[i]!,
    vm: {
      name: `vm${i}`,
      ...spec,
      namespaceLabels: { "kubernetes.io/metadata.name": spec.namespace, app: spec.namespace === "team" ? "a" : "b" },
    },
  }));
  const vms = ends.map(({ ip, vm }) =>
    workload(vm!.name, {
      ...vm!,
      ip,
      ports: vm!.ports.map((port) => ({ ...port, protocol: port.protocol.toLowerCase() as PolicyProtocol })),
    })
  );
  return { vms, ends: [...ends, { ip: "10.1.0.1" }, { ip: "192.0.2.7" }, { ip: "203.0.113.1" }] };
});

const setOf = (texts: readonly unknown[], action: "allow" | "deny"): PolicySet =>
  new PolicySet(policiesOf(texts.map((text) => `${JSON.stringify(text)}\n`).join("---\n")), action);

function* connections({ ends }: World): Iterable<OracleConnection> {
  for (const from of ends) {
    for (const to of ends) {
      for (const protocol of ["TCP", "UDP"] as const) {
        for (const port of [79, 80, 443]) {
          yield { from, to, protocol, port, names: [] };
          if (from.vm && !to.vm) { for (const name of names) yield { from, to, protocol, port, names: [name] }; }
        }
      }
    }
  }
}

function compiled(
  { vms }: World,
  { from, to, protocol, port, names }: OracleConnection,
): Parameters<PolicySet["evaluate"]>[0] {
  const find = (end: OracleEnd): Workload | undefined => vms.find(({ name }) => name === end.vm?.name);
  return {
    protocol: protocol.toLowerCase() as PolicyProtocol,
    from: find(from),
    source: parseAddress(from.ip),
    to: find(to),
    destination: parseAddress(to.ip),
    port,
    names,
  };
}

Deno.test("the compiled evaluator and a slow, literal reading of policies agree", () => {
  let [asked, denied] = [0, 0];
  property(
    fc.property(documents, world, fc.boolean(), (texts, world, allow) => {
      const set = setOf(texts, allow ? "allow" : "deny");
      for (const each of connections(world)) {
        const expected = oracle(texts, each, allow);
        asked++;
        if (!expected) denied++;
        assertEquals(set.evaluate(compiled(world, each)).allow, expected, JSON.stringify({ each, texts }));
      }
    }),
    500,
  );
  assert(denied > asked / 20 && denied < asked * 19 / 20, `${denied} of ${asked} are denied: the input is one-sided`);
});

Deno.test("explain() comes to the same verdict as evaluate(), and says of the rule that decided that it matches", () => {
  property(
    fc.property(documents, world, (texts, world) => {
      const set = setOf(texts, "allow");
      for (const each of connections(world)) {
        const question = compiled(world, each);
        const [verdict, explanation] = [set.evaluate(question), explain(set, question)];
        assertEquals(explanation.allow, verdict.allow);
        for (const { direction, allow, policies } of explanation.directions) {
          const matching = policies.flatMap(({ rules }) => rules).filter(({ matches }) => matches);
          const { basis } = verdict[direction]!;
          assertEquals(matching.length > 0, basis.kind === "rule");
          if (basis.kind === "rule") {
            assert(matching.some(({ path, action }) => path === basis.rule.path && allow === (action === "allow")));
          }
        }
      }
    }),
    50,
  );
});

Deno.test("diff() names exactly the connections whose verdict differs", () => {
  property(
    fc.property(documents, documents, world, (before, after, world) => {
      const [old, next] = [setOf(before, "allow"), setOf(after, "allow")];
      const changes = [...diff(old, next, world.vms)];
      for (const each of connections(world)) {
        if (!each.from.vm || !each.to.vm || each.from === each.to) continue;
        const question = compiled(world, each);
        const [a, b] = [old.evaluate(question).allow, next.evaluate(question).allow];
        const named = changes.filter(({ from, to, protocol, ports: [first, last] }) =>
          from === each.from.vm!.name && to === each.to.vm!.name && protocol === question.protocol &&
          each.port >= first && each.port <= last
        );
        assertEquals(
          named.map(({ allowedBefore, allowedAfter }) => [allowedBefore, allowedAfter]),
          a === b ? [] : [[a, b]],
        );
      }
    }),
    100,
  );
});
