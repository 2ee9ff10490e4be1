/**
 * Workloads and policies for tests of policy.
 *
 * @module
 */

import { parseAddress } from "../../src/net/address.ts";
import type { Action, Connection, NamedPort, Policy, Workload } from "../../src/policy/model.ts";
import { PolicySet } from "../../src/policy/policy_set.ts";
import { readPolicies } from "../../src/policy/read.ts";
import type { Labels } from "../../src/policy/selector.ts";

/** What a test says of a workload. */
export interface WorkloadSpec {
  readonly namespace?: string;
  readonly labels?: Labels;
  readonly namespaceLabels?: Labels;
  readonly ip?: string;
  readonly ip6?: string;
  readonly ports?: readonly NamedPort[];
}

/** A VM. */
export function workload(name: string, spec: WorkloadSpec = {}): Workload {
  const { namespace = "default", labels = {}, namespaceLabels = {}, ip = "10.77.0.2", ip6, ports = [] } = spec;
  return {
    name,
    namespace,
    labels,
    namespaceLabels: { "kubernetes.io/metadata.name": namespace, ...namespaceLabels },
    addresses: [parseAddress(ip), ...(ip6 === undefined ? [] : [parseAddress(ip6)])],
    ports,
    isVm: true,
  };
}

/** Policies that must be right. @throws {Error} with their errors. */
export function policiesOf(yaml: string): readonly Policy[] {
  const { policies, problems } = readPolicies("p.yaml", yaml);
  if (problems.length > 0) throw new Error(problems.map(({ line, message }) => `${line}: ${message}`).join("\n"));
  return policies;
}

/** A compiled set. */
export function policySet(yaml: string, defaultAction: Action = "allow"): PolicySet {
  return new PolicySet(policiesOf(yaml), defaultAction);
}

/** A NetworkPolicy with this spec, in flow style. */
export function networkPolicy(spec: string, name = "p", namespace = "default"): string {
  return `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: ${name}, namespace: ${namespace}}, spec: ${spec}}\n`;
}

/** A CircuitPolicy with this spec, in flow style. */
export function circuitPolicy(spec: string, name = "c", namespace = "default"): string {
  return `{apiVersion: policy.csvn/v1, kind: CircuitPolicy, metadata: {name: ${name}, namespace: ${namespace}}, spec: ${spec}}\n`;
}

/** A connection; ends are workloads or addresses outside. */
export function connection(
  from: Workload | string,
  to: Workload | string,
  port: number,
  more: Partial<Pick<Connection, "protocol" | "names" | "source" | "destination">> = {},
): Connection {
  const end = (end: Workload | string): [Workload | undefined, Workload["addresses"][number]] =>
    typeof end === "string" ? [undefined, parseAddress(end)] : [end, end.addresses[0]!];
  const [[source, sourceAddress], [destination, destinationAddress]] = [end(from), end(to)];
  return {
    protocol: "tcp",
    from: source,
    source: sourceAddress,
    to: destination,
    destination: destinationAddress,
    port,
    names: [],
    ...more,
  };
}
