/**
 * A set of policies, compiled for being asked: one verdict per direction.
 *
 * Theory of operation. A connection passes when its source's egress and its destination's ingress allow it. In each direction, of all
 * rules that match, the one with the lowest priority number decides, and `deny` before `allow` where they are equal; rules of
 * NetworkPolicies come behind all priorities. When no rule matches, it passes unless the workload is isolated: by a policy that
 * selects it, or because the default is to deny.
 *
 * What is found out about a workload (which policies select it) and about a pair of workloads (which rules have the one as a peer of the
 * other) is kept by their identity. So a verdict looks at the rules that are about these two, however many policies there are; and
 * policies are found by a label that they ask for, not by asking each of them.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { type OtherEnd, otherEnd, peersMatch, portsMatch, Selections } from "./match.ts";
import type { Action, Connection, Direction, Policy, Rule, Workload } from "./model.ts";

/** Why a direction is allowed or denied. */
export type Basis =
  /** A rule matched. */
  | { readonly kind: "rule"; readonly rule: Rule }
  /** No rule matched, and these policies isolate it. */
  | { readonly kind: "isolated"; readonly by: readonly Policy[] }
  /** No policy isolates it, and the default is to deny. */
  | { readonly kind: "default" }
  /** No policy isolates it, nor did a rule match. */
  | { readonly kind: "open" };

/** The verdict on one direction. */
export interface DirectionVerdict {
  readonly direction: Direction;
  /** Whose: of the source for egress, of the destination for ingress. */
  readonly workload: Workload;
  readonly allow: boolean;
  readonly basis: Basis;
}

/** The verdict on a connection. A direction whose end is outside has none; nor have those of a VM that reaches itself. */
export interface SetVerdict {
  readonly allow: boolean;
  readonly egress: DirectionVerdict | undefined;
  readonly ingress: DirectionVerdict | undefined;
}

/** What is known about a workload in a direction. */
interface Table {
  /** Policies that select it, and isolate it or have rules. */
  readonly selecting: readonly Policy[];
  readonly isolating: readonly Policy[];
  /** In the order in which they decide. */
  readonly rules: readonly Rule[];
  /** Those that have another workload as a peer, by the address that it uses: one of its few. */
  readonly byPeer: WeakMap<Workload, Map<string, readonly Rule[]>>;
}

/** Where policies are looked for: by namespace, and by a label that all that they select have. */
class Index {
  readonly #buckets = new Map<string, Policy[]>();

  add(policy: Policy): void {
    const key = bucket(policy.namespaces ? undefined : policy.namespace, policy.pods.anchor);
    const found = this.#buckets.get(key);
    if (found) found.push(policy);
    else this.#buckets.set(key, [policy]);
  }

  /** All policies that may select it. */
  *candidates(workload: Workload): Iterable<Policy> {
    for (const namespace of [workload.namespace, undefined]) {
      for (const label of [undefined, ...Object.entries(workload.labels)]) {
        yield* this.#buckets.get(bucket(namespace, label)) ?? [];
      }
    }
  }
}

function bucket(namespace: string | undefined, label: readonly [string, string] | undefined): string {
  return `${namespace ?? "*"} ${label ? label.join("=") : "*"}`;
}

/** A compiled set of policies. Immutable. */
export class PolicySet {
  /** Equal for sets that say the same. */
  readonly revision: string;
  readonly #index = new Index();
  readonly #selections = new Selections();
  readonly #tables: Readonly<Record<Direction, WeakMap<Workload, Table>>> = {
    egress: new WeakMap(),
    ingress: new WeakMap(),
  };

  /** @param defaultAction What becomes of VMs that no policy selects. */
  constructor(readonly policies: readonly Policy[], readonly defaultAction: Action) {
    for (const policy of policies) this.#index.add(policy);
    this.revision = revisionOf(policies, defaultAction);
  }

  /** The verdict on a connection. */
  evaluate(connection: Connection): SetVerdict {
    const { from, to } = connection;
    if (from !== undefined && from === to) return { allow: true, egress: undefined, ingress: undefined };
    const egress = from && this.#direction("egress", from, connection);
    const ingress = to && this.#direction("ingress", to, connection);
    return { allow: egress?.allow !== false && ingress?.allow !== false, egress, ingress };
  }

  /** The policies that select a workload, and isolate it in this direction or have rules for it. */
  selecting(direction: Direction, workload: Workload): readonly Policy[] {
    return this.#table(direction, workload).selecting;
  }

  /** The policies that isolate it in this direction. */
  isolating(direction: Direction, workload: Workload): readonly Policy[] {
    return this.#table(direction, workload).isolating;
  }

  /** All rules for a workload in a direction, in the order in which they decide. */
  rules(direction: Direction, workload: Workload): readonly Rule[] {
    return this.#table(direction, workload).rules;
  }

  #direction(direction: Direction, workload: Workload, connection: Connection): DirectionVerdict {
    const table = this.#table(direction, workload);
    const other = otherEnd({ direction }, connection);
    const rule = this.#peerRules(table, other).find((rule) => portsMatch(rule, connection));
    if (rule) return { direction, workload, allow: rule.action === "allow", basis: { kind: "rule", rule } };
    if (table.isolating.length > 0) {
      return { direction, workload, allow: false, basis: { kind: "isolated", by: table.isolating } };
    }
    const denied = this.defaultAction === "deny" && workload.isVm;
    return { direction, workload, allow: !denied, basis: { kind: denied ? "default" : "open" } };
  }

  /** The rules of a table that have the other end as a peer. */
  #peerRules(table: Table, other: OtherEnd): readonly Rule[] {
    const find = (): Rule[] => table.rules.filter((rule) => peersMatch(rule, other, this.#selections));
    if (!other.workload) return find();
    let known = table.byPeer.get(other.workload);
    if (!known) table.byPeer.set(other.workload, known = new Map());
    let rules = known.get(other.address.text);
    if (!rules) known.set(other.address.text, rules = find());
    return rules;
  }

  #table(direction: Direction, workload: Workload): Table {
    const tables = this.#tables[direction];
    let table = tables.get(workload);
    if (!table) tables.set(workload, table = this.#makeTable(direction, workload));
    return table;
  }

  #makeTable(direction: Direction, workload: Workload): Table {
    const selecting = [...this.#index.candidates(workload)].filter((policy) =>
      (policy.isolates.includes(direction) || policy.rules.some((rule) => rule.direction === direction)) &&
      this.#selects(policy, workload)
    );
    const rules = selecting.flatMap((policy) => policy.rules.filter((rule) => rule.direction === direction));
    return {
      selecting,
      isolating: selecting.filter((policy) => policy.isolates.includes(direction)),
      rules: rules.sort(byPrecedence),
      byPeer: new WeakMap(),
    };
  }

  #selects({ namespace, namespaces, pods }: Policy, workload: Workload): boolean {
    const within = namespaces ? this.#selections.namespace(namespaces, workload) : workload.namespace === namespace;
    return within && this.#selections.pod(pods, workload);
  }
}

function byPrecedence(a: Rule, b: Rule): number {
  return a.policy.priority - b.policy.priority || Number(b.action === "deny") - Number(a.action === "deny");
}

function revisionOf(policies: readonly Policy[], defaultAction: Action): string {
  const hash = createHash("sha256").update(defaultAction);
  const texts = policies.map(({ kind, namespace, name, priority, pods, namespaces, isolates, rules }) => {
    const said = rules.map(({ direction, action, peers, ports }) => [
      direction,
      action,
      peers?.map((peer) => {
        switch (peer.kind) {
          case "workloads":
            return [peer.pods.text, peer.namespaces?.text ?? null];
          case "block":
            return String(peer.block);
          case "domains":
            return peer.patterns.map(String);
        }
      }),
      ports,
    ]);
    return JSON.stringify([kind, namespace, name, priority, pods.text, namespaces?.text ?? null, isolates, said]);
  });
  // The order of files does not matter, nor does it to the verdicts.
  for (const text of texts.sort()) hash.update(text);
  return hash.digest("hex").slice(0, 12);
}
