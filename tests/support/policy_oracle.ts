/**
 * A slow, literal reading of what policies mean, for comparing the compiled evaluator with: straight from the words of the
 * NetworkPolicy API's definition and of docs/policy.md, on the documents as they are written. It shares no code with src/policy.
 *
 * @module
 */

/** A document, as YAML or JSON has it. */
export interface OracleDocument {
  kind: "NetworkPolicy" | "CircuitPolicy";
  metadata: { name: string; namespace: string };
  spec: {
    priority?: number;
    podSelector?: OracleSelector;
    namespaceSelector?: OracleSelector;
    policyTypes?: string[];
    ingress?: OracleRule[];
    egress?: OracleRule[];
  };
}

export interface OracleSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}

export interface OracleRule {
  action?: string;
  from?: OraclePeer[];
  to?: OraclePeer[];
  ports?: { protocol?: string; port?: number | string; endPort?: number }[];
}

export interface OraclePeer {
  podSelector?: OracleSelector;
  namespaceSelector?: OracleSelector;
  ipBlock?: { cidr: string; except?: string[] };
  domainNames?: string[];
}

/** An end of a connection: a VM, or an IPv4 address outside. */
export interface OracleEnd {
  ip: string;
  vm?: {
    name: string;
    namespace: string;
    labels: Record<string, string>;
    namespaceLabels: Record<string, string>;
    ports: { name: string; port: number; protocol: string }[];
  };
}

export interface OracleConnection {
  from: OracleEnd;
  to: OracleEnd;
  protocol: "TCP" | "UDP" | "SCTP";
  port: number;
  names: string[];
}

function selects(selector: OracleSelector | undefined, labels: Record<string, string>): boolean {
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) {
    if (labels[key] !== value) return false;
  }
  for (const { key, operator, values } of selector?.matchExpressions ?? []) {
    const has = key in labels;
    const among = has && (values ?? []).some((value) => value === labels[key]);
    if (operator === "In" && !among) return false;
    if (operator === "NotIn" && among) return false;
    if (operator === "Exists" && !has) return false;
    if (operator === "DoesNotExist" && has) return false;
  }
  return true;
}

function number(ip: string): number {
  return ip.split(".").reduce((value, part) => value * 256 + Number(part), 0);
}

function within(ip: string, cidr: string): boolean {
  const [base, prefix] = cidr.split("/");
  const size = 2 ** (32 - Number(prefix));
  return Math.floor(number(ip) / size) === Math.floor(number(base!) / size);
}

function isPeer(peer: OraclePeer, namespace: string, end: OracleEnd, names: string[]): boolean {
  if (peer.ipBlock) {
    return within(end.ip, peer.ipBlock.cidr) && !(peer.ipBlock.except ?? []).some((cidr) => within(end.ip, cidr));
  }
  if (peer.domainNames) {
    if (end.vm) return false;
    return names.some((name) =>
      peer.domainNames!.some((pattern) =>
        pattern.startsWith("*.")
          ? name.endsWith(pattern.slice(1)) && name.length > pattern.length - 1
          : name === pattern
      )
    );
  }
  if (!end.vm) return false;
  const inNamespace = peer.namespaceSelector
    ? selects(peer.namespaceSelector, end.vm.namespaceLabels)
    : end.vm.namespace === namespace;
  return inNamespace && selects(peer.podSelector, end.vm.labels);
}

function ruleMatches(
  rule: OracleRule,
  peers: OraclePeer[] | undefined,
  namespace: string,
  end: OracleEnd,
  c: OracleConnection,
  names: string[],
): boolean {
  if (peers && peers.length > 0 && !peers.some((peer) => isPeer(peer, namespace, end, names))) return false;
  if (!rule.ports || rule.ports.length === 0) return true;
  return rule.ports.some((port) => {
    if ((port.protocol ?? "TCP") !== c.protocol) return false;
    if (port.port === undefined) return true;
    if (typeof port.port === "string") {
      return (c.to.vm?.ports ?? []).some((known) =>
        known.name === port.port && known.port === c.port && known.protocol === c.protocol
      );
    }
    return port.endPort === undefined ? c.port === port.port : c.port >= port.port && c.port <= port.endPort;
  });
}

/** May this direction pass? */
function passes(
  documents: OracleDocument[],
  direction: "Ingress" | "Egress",
  c: OracleConnection,
  defaultAllow: boolean,
): boolean {
  const [end, other] = direction === "Ingress" ? [c.to, c.from] : [c.from, c.to];
  if (!end.vm) return true;
  const own = end.vm;
  let isolated = !defaultAllow;
  let best: { priority: number; deny: boolean } | undefined;
  for (const { kind, metadata, spec } of documents) {
    const there = spec.namespaceSelector
      ? selects(spec.namespaceSelector, own.namespaceLabels)
      : metadata.namespace === own.namespace;
    if (!there || !selects(spec.podSelector, own.labels)) continue;
    const rules = (direction === "Ingress" ? spec.ingress : spec.egress) ?? [];
    const types = spec.policyTypes && spec.policyTypes.length > 0
      ? spec.policyTypes
      : kind === "NetworkPolicy"
      ? ["Ingress", ...(spec.egress && spec.egress.length > 0 ? ["Egress"] : [])]
      : [
        ...(spec.ingress?.some(({ action }) => action === "Allow") ? ["Ingress"] : []),
        ...(spec.egress?.some(({ action }) => action === "Allow") ? ["Egress"] : []),
      ];
    if (types.includes(direction)) isolated = true;
    else if (kind === "NetworkPolicy") continue;
    for (const rule of rules) {
      const peers = direction === "Ingress" ? rule.from : rule.to;
      const names = direction === "Egress" ? c.names : [];
      if (!ruleMatches(rule, peers, metadata.namespace, other, c, names)) continue;
      const priority = kind === "NetworkPolicy" ? 1001 : spec.priority ?? 1000;
      const deny = rule.action === "Deny";
      if (!best || priority < best.priority || (priority === best.priority && deny)) best = { priority, deny };
    }
  }
  return best ? !best.deny : !isolated;
}

/** May the connection be made? */
export function oracle(documents: OracleDocument[], c: OracleConnection, defaultAllow: boolean): boolean {
  if (c.from.vm && c.from.vm === c.to.vm) return true;
  return passes(documents, "Egress", c, defaultAllow) && passes(documents, "Ingress", c, defaultAllow);
}
