/**
 * Cases: policies and endpoints, with the connections that they are expected to allow or deny.
 *
 * @module
 */

import { AddressError, parseAddress, unmapped } from "../net/address.ts";
import type { Action, NamedPort, PolicyProtocol, Workload } from "./model.ts";
import { PolicySet } from "./policy_set.ts";
import { readPolicies } from "./read.ts";
import { reasonOf } from "./reason.ts";
import { caseViolations, formatPath } from "./schema.ts";

/** One case; see policies/schema/cases.schema.json. */
export interface Case {
  readonly name: string;
  readonly policyYaml: string;
  readonly default?: Action;
  readonly endpoints: readonly CaseEndpoint[];
  readonly probes: readonly Probe[];
}

interface CaseEndpoint {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly namespaceLabels?: Readonly<Record<string, string>>;
  readonly ip: string;
  readonly ports?: readonly { readonly name: string; readonly port: number; readonly protocol?: string }[];
}

interface Probe {
  /** An endpoint's name, or an address outside. */
  readonly from: string;
  readonly to: string;
  readonly protocol: string;
  readonly port: number;
  readonly domainName?: string;
  readonly expect: Action;
}

/** How cases went. */
export interface CaseResults {
  /** Probes. */
  readonly passed: number;
  readonly failed: number;
  /** One line for each that failed. */
  readonly mismatches: readonly string[];
}

/** A file is no file of cases; the message has a line for each error. */
export class CaseError extends Error {
  override readonly name = "CaseError";
}

/** Read a file of cases. @param file Its name, for messages. @throws {CaseError} */
export function parseCases(file: string, text: string): Case[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CaseError(`${file}: ${(error as Error).message}`);
  }
  const wrong = caseViolations(value).slice(0, 20);
  if (wrong.length === 0) return value as Case[];
  throw new CaseError(
    wrong.map(({ path, message }) => `${file}: ${formatPath(path) || "the file"}: ${message}`).join("\n"),
  );
}

/** Ask for a verdict on every probe. */
export function runCases(cases: readonly Case[]): CaseResults {
  const results = cases.flatMap(runCase);
  const mismatches = results.filter((result) => result !== undefined);
  return { passed: results.length - mismatches.length, failed: mismatches.length, mismatches };
}

/** For each probe what went wrong with it, or undefined. */
function runCase(
  { name, policyYaml, default: defaultAction = "allow", endpoints, probes }: Case,
): (string | undefined)[] {
  const { policies, problems } = readPolicies("policyYaml", policyYaml);
  if (problems.length > 0) {
    const { line, column, message } = problems[0]!;
    return probes.map(() => `${name}: policyYaml:${line}:${column}: ${message}`);
  }
  const set = new PolicySet(policies, defaultAction);
  const workloads = new Map(endpoints.map((endpoint) => [endpoint.name, workloadOf(endpoint)]));
  return probes.map((probe) => {
    const { from, to, protocol, port, domainName, expect } = probe;
    try {
      const [source, destination] = [endOf(from, workloads), endOf(to, workloads)];
      const verdict = set.evaluate({
        protocol: protocol.toLowerCase() as PolicyProtocol,
        from: source.workload,
        source: source.address,
        to: destination.workload,
        destination: destination.address,
        port,
        names: domainName === undefined ? [] : [domainName],
      });
      if (verdict.allow === (expect === "allow")) return undefined;
      return `${name}: ${from} -> ${to} ${port}/${protocol.toLowerCase()}: expected ${expect}, ` +
        `got ${verdict.allow ? "allow" : "deny"} (${reasonOf(verdict)})`;
    } catch (error) {
      if (error instanceof AddressError) return `${name}: ${from} -> ${to}: ${error.message}, nor an endpoint's name`;
      throw error;
    }
  });
}

function endOf(
  text: string,
  workloads: ReadonlyMap<string, Workload>,
): { workload: Workload | undefined; address: Workload["addresses"][number] } {
  const workload = workloads.get(text);
  return { workload, address: workload?.addresses[0] ?? unmapped(parseAddress(text)) };
}

function workloadOf(
  { name, namespace = "default", labels = {}, namespaceLabels, ip, ports = [] }: CaseEndpoint,
): Workload {
  return {
    name,
    namespace,
    labels,
    namespaceLabels: { "kubernetes.io/metadata.name": namespace, ...namespaceLabels },
    addresses: [unmapped(parseAddress(ip))],
    ports: ports.map(({ name, port, protocol = "TCP" }): NamedPort => ({
      name,
      port,
      protocol: protocol.toLowerCase() as PolicyProtocol,
    })),
    isVm: true,
  };
}
