/**
 * Why a connection is allowed or denied: every policy that selects one of its ends, and every rule, with what it lacks.
 *
 * @module
 */

import { otherEnd, peersMatch, portsMatch, Selections } from "./match.ts";
import { type Connection, type Direction, type Peer, policyName, type PortRange, type Rule } from "./model.ts";
import type { DirectionVerdict, PolicySet } from "./policy_set.ts";
import { directionReason } from "./reason.ts";

/** A rule, seen from a connection. */
export interface RuleExplanation {
  /** `spec.ingress[0]` */
  readonly path: string;
  readonly action: "allow" | "deny";
  /** Where it is written: `file:line`. */
  readonly at: string;
  readonly matches: boolean;
  /** What it is about, where it does not match. */
  readonly lacks: readonly string[];
}

/** A policy that selects an end. */
export interface PolicyExplanation {
  readonly policy: string;
  readonly kind: string;
  readonly at: string;
  readonly isolates: boolean;
  readonly priority: number | undefined;
  readonly rules: readonly RuleExplanation[];
}

/** One direction. */
export interface DirectionExplanation {
  readonly direction: Direction;
  readonly workload: string;
  readonly allow: boolean;
  readonly reason: string;
  readonly policies: readonly PolicyExplanation[];
}

/** A connection's verdict, and all that led to it. */
export interface Explanation {
  readonly connection: string;
  readonly allow: boolean;
  readonly revision: string;
  readonly directions: readonly DirectionExplanation[];
}

/** `10.0.0.0/8`, or the name and what it is. */
export function describeConnection({ from, source, to, destination, port, protocol, names }: Connection): string {
  const name = names.length > 0 ? `${names.join(", ")} (${destination.text})` : destination.text;
  return `${from?.name ?? source.text} -> ${to?.name ?? name} ${port}/${protocol}`;
}

/** Explain a verdict. */
export function explain(set: PolicySet, connection: Connection): Explanation {
  const verdict = set.evaluate(connection);
  return {
    connection: describeConnection(connection),
    allow: verdict.allow,
    revision: set.revision,
    directions: [verdict.egress, verdict.ingress].flatMap((part) =>
      part ? [explainDirection(set, connection, part)] : []
    ),
  };
}

function explainDirection(set: PolicySet, connection: Connection, verdict: DirectionVerdict): DirectionExplanation {
  const { direction, workload, allow } = verdict;
  return {
    direction,
    workload: workload.name,
    allow,
    reason: directionReason(verdict),
    policies: set.selecting(direction, workload).map((policy): PolicyExplanation => ({
      policy: policyName(policy),
      kind: policy.kind,
      at: `${policy.file}:${policy.position.line}`,
      isolates: policy.isolates.includes(direction),
      priority: policy.kind === "CircuitPolicy" ? policy.priority : undefined,
      rules: policy.rules.filter((rule) => rule.direction === direction).map((rule) => explainRule(rule, connection)),
    })),
  };
}

function explainRule(rule: Rule, connection: Connection): RuleExplanation {
  const lacks: string[] = [];
  if (!peersMatch(rule, otherEnd(rule, connection), new Selections())) {
    const field = rule.direction === "ingress" ? "from" : "to";
    lacks.push(`${field}: ${rule.peers!.map((peer) => describePeer(peer, rule)).join(", or ") || "nobody"}`);
  }
  if (!portsMatch(rule, connection)) lacks.push(`ports: ${rule.ports!.map(describePort).join(", ")}`);
  return {
    path: rule.path,
    action: rule.action,
    at: `${rule.policy.file}:${rule.position.line}`,
    matches: lacks.length === 0,
    lacks,
  };
}

function describePeer(peer: Peer, { policy }: Rule): string {
  switch (peer.kind) {
    case "workloads":
      return `${peer.pods} in ${
        peer.namespaces ? `namespaces with ${peer.namespaces}` : `namespace ${policy.namespace}`
      }`;
    case "block":
      return String(peer.block);
    case "domains":
      return peer.patterns.join(", ");
  }
}

/** `80/tcp`, `8000-8080/tcp`, `all/udp`. */
export function describePort({ protocol, port, endPort }: PortRange): string {
  return `${port ?? "all"}${endPort !== undefined && endPort !== port ? `-${endPort}` : ""}/${protocol}`;
}

/** An explanation as text for people. */
export function formatExplanation({ connection, allow, revision, directions }: Explanation): string {
  const lines = [`${connection}: ${allow ? "allowed" : "denied"} (policy revision ${revision})`];
  if (directions.length === 0) lines.push("a VM always reaches itself");
  for (const { direction, workload, reason, policies } of directions) {
    lines.push("", reason);
    if (policies.length === 0) lines.push(`  no policy selects ${workload} for ${direction}`);
    for (const { policy, kind, at, isolates, priority, rules } of policies) {
      const said = [
        isolates ? `isolates ${workload}` : `does not isolate ${workload}`,
        ...(priority === undefined ? [] : [`priority ${priority}`]),
      ];
      lines.push(`  ${kind} ${policy} (${at}): ${said.join(", ")}`);
      if (rules.length === 0) lines.push(`    no rule for ${direction}`);
      for (const rule of rules) {
        const how = rule.matches ? "matches" : `does not match: ${rule.lacks.join("; ")}`;
        lines.push(`    ${rule.path} ${rule.action} (${rule.at}): ${how}`);
      }
    }
  }
  return lines.join("\n") + "\n";
}
