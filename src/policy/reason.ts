/**
 * Verdicts in words.
 *
 * @module
 */

import { type Policy, policyName, type Rule, ruleName } from "./model.ts";
import type { DirectionVerdict, SetVerdict } from "./policy_set.ts";

const NAMES_MAX = 3;

/** Some policies by name; of many, the first. */
export function listPolicies(policies: readonly Policy[]): string {
  const names = policies.slice(0, NAMES_MAX).map(policyName).join(", ");
  return policies.length > NAMES_MAX ? `${names} and ${policies.length - NAMES_MAX} more` : names;
}

/** Why a direction is allowed or denied: `egress of web: denied by default/no-db spec.egress[0]`. */
export function directionReason({ direction, workload, allow, basis }: DirectionVerdict): string {
  return `${direction} of ${workload.name}: ${allow ? "allowed" : "denied"}${basisReason(basis)}`;
}

function basisReason(basis: DirectionVerdict["basis"]): string {
  switch (basis.kind) {
    case "rule":
      return ` by ${ruleName(basis.rule)}`;
    case "isolated":
      return `, since no rule allows it, and ${listPolicies(basis.by)} isolate${basis.by.length === 1 ? "s" : ""} it`;
    case "default":
      return " by default, since no policy selects it";
    case "open":
      return ", since no policy isolates it";
  }
}

/** Why a connection is allowed or denied: all that decided. */
export function reasonOf({ allow, egress, ingress }: SetVerdict): string {
  if (!egress && !ingress) return "a VM always reaches itself";
  const said = [egress, ingress].filter((verdict) => verdict !== undefined);
  return said.filter((verdict) => allow || !verdict.allow).map(directionReason).join("; ");
}

/** A direction's verdict as plain JSON, for the audit log. */
export function directionDetails(verdict: DirectionVerdict | undefined): Record<string, unknown> | undefined {
  if (!verdict) return undefined;
  const { allow, basis } = verdict;
  const policies = basis.kind === "isolated" ? basis.by.slice(0, NAMES_MAX).map(policyName) : undefined;
  return {
    verdict: allow ? "allow" : "deny",
    basis: basis.kind,
    ...(basis.kind === "rule" && { rule: ruleDetails(basis.rule) }),
    ...(policies && { policies }),
  };
}

function ruleDetails(rule: Rule): Record<string, unknown> {
  const { policy, path, position } = rule;
  return { policy: policyName(policy), path, at: `${policy.file}:${position.line}` };
}
