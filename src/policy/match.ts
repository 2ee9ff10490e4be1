/**
 * Does a rule match a connection? The same functions serve enforcing and explaining.
 *
 * @module
 */

import type { Address } from "../net/address.ts";
import type { Connection, NamedPort, Peer, PortRange, Rule, Workload } from "./model.ts";
import type { Selector } from "./selector.ts";

/** Remembers which workloads a selector selects; equal selectors share what is known. */
export class Selections {
  readonly #pods = new Map<string, WeakMap<Workload, boolean>>();
  readonly #namespaces = new Map<string, WeakMap<Workload, boolean>>();

  /** Does the selector select its labels? */
  pod(selector: Selector, workload: Workload): boolean {
    return remembered(this.#pods, selector, workload, () => selector.matches(workload.labels));
  }

  /** Does the selector select its namespace's labels? */
  namespace(selector: Selector, workload: Workload): boolean {
    return remembered(this.#namespaces, selector, workload, () => selector.matches(workload.namespaceLabels));
  }
}

function remembered(
  known: Map<string, WeakMap<Workload, boolean>>,
  selector: Selector,
  workload: Workload,
  find: () => boolean,
): boolean {
  let answers = known.get(selector.text);
  if (!answers) known.set(selector.text, answers = new WeakMap());
  let answer = answers.get(workload);
  if (answer === undefined) answers.set(workload, answer = find());
  return answer;
}

/** The other end of a connection, as a rule about one end sees it. */
export interface OtherEnd {
  readonly workload: Workload | undefined;
  readonly address: Address;
  /** DNS names of a destination outside. */
  readonly names: readonly string[];
}

/** The other end for the rules of a direction. */
export function otherEnd(
  rule: Pick<Rule, "direction">,
  { from, source, to, destination, names }: Connection,
): OtherEnd {
  return rule.direction === "ingress"
    ? { workload: from, address: source, names: [] }
    : { workload: to, address: destination, names };
}

/** Is this peer of a rule the other end? */
export function peerMatches(peer: Peer, rule: Rule, other: OtherEnd, selections: Selections): boolean {
  switch (peer.kind) {
    case "workloads":
      return other.workload !== undefined &&
        (peer.namespaces
          ? selections.namespace(peer.namespaces, other.workload)
          : other.workload.namespace === rule.policy.namespace) &&
        selections.pod(peer.pods, other.workload);
    case "block":
      return peer.block.contains(other.address);
    case "domains":
      // A name that leads to a VM gives no way around that VM's labels.
      return other.workload === undefined && other.names.some((name) => peer.patterns.some((p) => p.matches(name)));
  }
}

/** Is the other end among a rule's peers? */
export function peersMatch(rule: Rule, other: OtherEnd, selections: Selections): boolean {
  return rule.peers === undefined || rule.peers.some((peer) => peerMatches(peer, rule, other, selections));
}

/** Is the connection's port this one? A name is looked up at the destination. */
export function portMatches({ protocol, port, endPort }: PortRange, connection: Connection): boolean {
  if (protocol !== connection.protocol) return false;
  if (port === undefined) return true;
  if (typeof port === "number") return connection.port >= port && connection.port <= (endPort ?? port);
  const declares = (named: NamedPort): boolean =>
    named.name === port && named.protocol === protocol && named.port === connection.port;
  return connection.to?.ports.some(declares) ?? false;
}

/** Is the connection's port among a rule's ports? */
export function portsMatch(rule: Rule, connection: Connection): boolean {
  return rule.ports === undefined || rule.ports.some((port) => portMatches(port, connection));
}
