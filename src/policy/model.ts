/**
 * What policies say, in the form in which they are evaluated.
 *
 * @module
 */

import type { Address } from "../net/address.ts";
import type { Position } from "../yaml/documents.ts";
import type { DomainPattern } from "./domain_pattern.ts";
import type { IpBlock } from "./ip_block.ts";
import type { Labels, Selector } from "./selector.ts";

/** A connection's two halves, as policies see them: what its source sends, and what its destination takes. */
export type Direction = "egress" | "ingress";

/** A protocol that policies name. SCTP never connects here. */
export type PolicyProtocol = "tcp" | "udp" | "sctp";
/** All of them. */
export const protocols: readonly PolicyProtocol[] = ["tcp", "udp", "sctp"];

/** A port that a workload declares, by the name that policies use. */
export interface NamedPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: PolicyProtocol;
}

/** What policies select: a VM, or a service of the switch itself. Immutable; what is known about it is kept by its identity. */
export interface Workload {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Labels;
  /** Labels of its namespace, with `kubernetes.io/metadata.name`. */
  readonly namespaceLabels: Labels;
  readonly addresses: readonly Address[];
  readonly ports: readonly NamedPort[];
  /** Is it a VM, to which `--default deny` applies? */
  readonly isVm: boolean;
}

/** A connection, as policies judge it. */
export interface Connection {
  readonly protocol: PolicyProtocol;
  /** Who connects; undefined: something outside. */
  readonly from: Workload | undefined;
  readonly source: Address;
  /** Who is connected to; undefined: something outside. */
  readonly to: Workload | undefined;
  readonly destination: Address;
  /** Of the destination. */
  readonly port: number;
  /** DNS names that the destination has for the source. */
  readonly names: readonly string[];
}

/** Whom a rule is about. */
export type Peer =
  | { readonly kind: "workloads"; readonly pods: Selector; readonly namespaces: Selector | undefined }
  | { readonly kind: "block"; readonly block: IpBlock }
  | { readonly kind: "domains"; readonly patterns: readonly DomainPattern[] };

/** Which ports a rule is about. */
export interface PortRange {
  readonly protocol: PolicyProtocol;
  /** A number, a name that the destination declares, or undefined: all. */
  readonly port: number | string | undefined;
  readonly endPort: number | undefined;
}

/** What a rule does with what it matches. */
export type Action = "allow" | "deny";

/** One rule of a policy. */
export interface Rule {
  readonly policy: Policy;
  readonly direction: Direction;
  readonly action: Action;
  /** undefined: anybody. */
  readonly peers: readonly Peer[] | undefined;
  /** undefined: all ports of all protocols. */
  readonly ports: readonly PortRange[] | undefined;
  /** Where in its policy: `spec.ingress[0]`. */
  readonly path: string;
  readonly position: Position;
}

/** Priority of rules of NetworkPolicies: behind all that have one. */
export const NO_PRIORITY = 1001;

/** A policy. */
export interface Policy {
  readonly kind: "NetworkPolicy" | "CircuitPolicy";
  readonly name: string;
  readonly namespace: string;
  readonly file: string;
  readonly position: Position;
  /** 0 to 1000, or {@linkcode NO_PRIORITY}; the lowest number decides. */
  readonly priority: number;
  /** Whom it selects: in these namespaces (undefined: in its own), those with these labels. */
  readonly pods: Selector;
  readonly namespaces: Selector | undefined;
  /** In which directions who is selected is isolated: only what is allowed passes. */
  readonly isolates: readonly Direction[];
  readonly rules: readonly Rule[];
}

/** `default/web-db`, as messages name a policy. */
export function policyName({ namespace, name }: Policy): string {
  return `${namespace}/${name}`;
}

/** `default/web-db spec.ingress[0]`, as messages name a rule. */
export function ruleName({ policy, path }: Rule): string {
  return `${policyName(policy)} ${path}`;
}
