/**
 * Policies from YAML: every document is checked against its schema, then for what a schema cannot say; all errors are found at
 * once, each at its position.
 *
 * @module
 */

import { type Document, isMap, isScalar, isSeq, type Node, type Pair } from "yaml";
import { AddressError } from "../net/address.ts";
import { type Position, type Problem, readYaml, type YamlLimits, type YamlText } from "../yaml/documents.ts";
import { DomainPattern } from "./domain_pattern.ts";
import { Cidr } from "../net/cidr.ts";
import { IpBlock } from "./ip_block.ts";
import {
  type Direction,
  NO_PRIORITY,
  type Peer,
  type Policy,
  type PolicyProtocol,
  type PortRange,
  type Rule,
} from "./model.ts";
import { documentTypes, formatPath, type Path, violations } from "./schema.ts";
import { Selector, type SelectorSpec } from "./selector.ts";

/** What a file holds: policies, or what is wrong with it. */
export interface PolicyText {
  readonly policies: readonly Policy[];
  readonly problems: readonly Problem[];
  /** How many documents it has, `null` ones not counted. */
  readonly documents: number;
}

/** How many errors of one file are told. */
const PROBLEMS_MAX = 100;
/** How often a document's aliases may be followed, all in all. */
const ALIASES_MAX = 100;

interface RuleSpec {
  readonly action?: "Allow" | "Deny";
  readonly from?: readonly PeerSpec[];
  readonly to?: readonly PeerSpec[];
  readonly ports?: readonly PortSpec[];
}

interface PeerSpec {
  readonly podSelector?: SelectorSpec;
  readonly namespaceSelector?: SelectorSpec;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
  readonly domainNames?: readonly string[];
}

interface PortSpec {
  readonly protocol?: "TCP" | "UDP" | "SCTP";
  readonly port?: number | string;
  readonly endPort?: number;
}

interface DocumentSpec {
  readonly kind: Policy["kind"];
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec: {
    readonly priority?: number;
    readonly podSelector?: SelectorSpec;
    readonly namespaceSelector?: SelectorSpec;
    readonly policyTypes?: readonly ("Ingress" | "Egress")[];
    readonly ingress?: readonly RuleSpec[];
    readonly egress?: readonly RuleSpec[];
  };
}

/**
 * Read a file's text. A `List` of `v1`, as `kubectl get -o yaml` prints it, is read as the policies in it.
 *
 * @param file Its name, for messages.
 */
export function readPolicies(file: string, text: string, limits?: YamlLimits): PolicyText {
  const yaml = readYaml(text, limits);
  if (yaml.problems.length > 0) return { policies: [], problems: yaml.problems, documents: 0 };
  const reader = new Reader(file, yaml);
  for (const document of yaml.documents) reader.document(document);
  return {
    policies: reader.problems.length > 0 ? [] : reader.policies,
    problems: reader.problems.slice(0, PROBLEMS_MAX),
    documents: reader.count,
  };
}

class Reader {
  readonly policies: Policy[] = [];
  readonly problems: Problem[] = [];
  count = 0;

  constructor(readonly file: string, readonly yaml: YamlText) {}

  document(document: Document.Parsed): void {
    if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) return;
    this.count++;
    const root = new Root(document, this.yaml, (problem) => void this.problems.push(problem));
    let value: unknown;
    try {
      value = withoutNulls(document.toJS({ maxAliasCount: ALIASES_MAX }));
    } catch (error) {
      return root.error([], (error as Error).message.split("\n")[0]!);
    }
    const { apiVersion, kind, items } = (value ?? {}) as { apiVersion?: unknown; kind?: unknown; items?: unknown };
    if (apiVersion === "v1" && kind === "List" && Array.isArray(items)) {
      items.forEach((item, i) => this.#policy(root.at(["items", i]), item));
    } else {
      this.#policy(root, value);
    }
  }

  #policy(root: Root, value: unknown): void {
    const { apiVersion, kind } = (value ?? {}) as { apiVersion?: unknown; kind?: unknown };
    const type = `${apiVersion} ${kind}`;
    if (!documentTypes.includes(type)) {
      const known = documentTypes.map((known) => known.split(" ").reverse().join(" of ")).join(" and ");
      if (typeof apiVersion !== "string" || typeof kind !== "string") {
        return root.error([], `apiVersion and kind are expected; read are ${known}`);
      }
      return root.error(["kind"], `${kind} of ${apiVersion} is not read here; read are ${known}`);
    }
    const wrong = violations(type, value);
    for (const { path, message } of wrong) root.error(path, message);
    const rest = without(value, wrong.map(({ path }) => path)) as Partial<DocumentSpec>;
    // What has the right shape may be wrong in other ways: all errors are told at once.
    if (rest.metadata && rest.spec) this.policies.push(convert(root, this.file, rest as DocumentSpec));
  }
}

/** A document, or a part of it, for which positions can be told. */
class Root {
  constructor(
    readonly document: Document.Parsed,
    readonly yaml: YamlText,
    readonly report: (problem: Problem) => void,
    readonly base: Path = [],
  ) {}

  at(path: Path): Root {
    return new Root(this.document, this.yaml, this.report, [...this.base, ...path]);
  }

  error(path: Path, message: string): void {
    const full = [...this.base, ...path];
    const where = full.length === 0 ? "" : `${formatPath(full)}: `;
    this.report({ ...this.position(path), message: `${where}${message}` });
  }

  /** Where a part begins; where it is not there, its closest parent. */
  position(path: Path): Position {
    let node = this.document.contents as Node | null;
    let offset = node?.range?.[0] ?? 0;
    for (const part of [...this.base, ...path]) {
      const { key, value } = child(this.#resolved(node), part);
      if (!key && !value) break;
      offset = (value?.range ?? key?.range)?.[0] ?? offset;
      // What is wrong with a mapping or a list is best seen at its key.
      if (key?.range && (!isScalar(value) || value.value === null)) offset = key.range[0];
      node = value;
    }
    return this.yaml.position(offset);
  }

  #resolved(node: Node | null): Node | null {
    return (node as { resolve?: (document: Document) => Node } | null)?.resolve?.(this.document) ?? node;
  }
}

function child(node: Node | null, part: string | number): { key?: Node | undefined; value: Node | null } {
  if (isSeq(node)) return { value: (node.items[Number(part)] ?? null) as Node | null };
  if (!isMap(node)) return { value: null };
  const pair = (node.items as Pair<Node, Node | null>[]).find(({ key }) => isScalar(key) && String(key.value) === part);
  return { key: pair?.key, value: pair?.value ?? null };
}

/** A field that is null is one that is not there, as Kubernetes reads it. Lists keep theirs, which are errors then. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== "object" || value === null) return value;
  // Of what follows an alias there may be many references to one object: it is copied for each, within ALIASES_MAX.
  return Object.fromEntries(
    Object.entries(value).filter(([, field]) => field !== null).map(([key, field]) => [key, withoutNulls(field)]),
  );
}

/** A value without its parts at these paths. Lists keep their indices: what is taken out of them leaves holes. */
function without(value: unknown, paths: readonly Path[]): unknown {
  for (const path of paths) {
    let parent = value as Record<string, unknown> | undefined;
    for (const part of path.slice(0, -1)) parent = parent?.[part] as typeof parent;
    if (path.length === 0) return {};
    if (parent) delete parent[path.at(-1)!];
  }
  return value;
}

function convert(root: Root, file: string, { kind, metadata, spec }: DocumentSpec): Policy {
  checkSelector(root, ["spec", "podSelector"], spec.podSelector);
  checkSelector(root, ["spec", "namespaceSelector"], spec.namespaceSelector);
  const rules: Rule[] = [];
  const policy: Policy = {
    kind,
    name: metadata.name,
    namespace: metadata.namespace ?? "default",
    file,
    position: root.position([]),
    priority: kind === "NetworkPolicy" ? NO_PRIORITY : spec.priority ?? 1000,
    pods: Selector.of(spec.podSelector),
    namespaces: spec.namespaceSelector && Selector.of(spec.namespaceSelector),
    isolates: isolates(kind, spec),
    rules,
  };
  for (const direction of ["ingress", "egress"] as const) {
    const converted = (spec[direction] ?? []).map((rule, i) =>
      convertRule(root, policy, direction, rule, ["spec", direction, i])
    );
    // Kubernetes does not look at the rules of a direction that policyTypes leaves out.
    if (kind === "CircuitPolicy" || policy.isolates.includes(direction)) rules.push(...converted);
  }
  return policy;
}

/** Directions in which a policy isolates whom it selects. */
function isolates(kind: Policy["kind"], spec: DocumentSpec["spec"]): Direction[] {
  const types = spec.policyTypes ?? [];
  if (types.length > 0) return [...new Set(types.map((type) => type.toLowerCase() as Direction))];
  if (kind === "NetworkPolicy") return (spec.egress ?? []).length > 0 ? ["ingress", "egress"] : ["ingress"];
  return (["ingress", "egress"] as const).filter((direction) => spec[direction]?.some((r) => r.action === "Allow"));
}

function convertRule(root: Root, policy: Policy, direction: Direction, spec: RuleSpec, path: Path): Rule {
  const field = direction === "ingress" ? "from" : "to";
  const peers = (spec[field] ?? []).map((peer, i) => convertPeer(root, peer, [...path, field, i]));
  const ports = (spec.ports ?? []).map((port, i) => convertPort(root, port, [...path, "ports", i]));
  return {
    policy,
    direction,
    action: spec.action === "Deny" ? "deny" : "allow",
    peers: peers.length > 0 ? peers.flatMap((peer) => peer ?? []) : undefined,
    ports: ports.length > 0 ? ports : undefined,
    path: formatPath(path),
    position: root.position(path),
  };
}

function convertPeer(root: Root, spec: PeerSpec, path: Path): Peer | undefined {
  checkSelector(root, [...path, "podSelector"], spec.podSelector);
  checkSelector(root, [...path, "namespaceSelector"], spec.namespaceSelector);
  const selects = spec.podSelector ?? spec.namespaceSelector;
  const given = [selects, spec.ipBlock, spec.domainNames].filter((part) => part !== undefined).length;
  if (given === 0) {
    root.error(
      path,
      "is empty; for anybody, leave the whole list out, or select by podSelector, namespaceSelector or ipBlock",
    );
    return undefined;
  }
  if (given > 1) {
    root.error(path, "ipBlock and domainNames stand alone; for one or the other, make two elements of them");
    return undefined;
  }
  if (spec.ipBlock) return convertBlock(root, spec.ipBlock, [...path, "ipBlock"]);
  if (spec.domainNames) {
    const patterns = spec.domainNames.flatMap((name, i) => {
      const pattern = DomainPattern.parse(name);
      if (!pattern) {
        root.error([...path, "domainNames", i], `"${name}" is not a DNS name such as api.example.com or *.example.com`);
      }
      return pattern ?? [];
    });
    return { kind: "domains", patterns };
  }
  return {
    kind: "workloads",
    pods: Selector.of(spec.podSelector),
    namespaces: spec.namespaceSelector && Selector.of(spec.namespaceSelector),
  };
}

function convertBlock(root: Root, spec: NonNullable<PeerSpec["ipBlock"]>, path: Path): Peer | undefined {
  const read = (text: string, at: Path): Cidr | undefined => {
    try {
      return Cidr.parse(text).unmapped();
    } catch (error) {
      if (!(error instanceof AddressError)) throw error;
      root.error(at, error.message);
      return undefined;
    }
  };
  const cidr = read(spec.cidr, [...path, "cidr"]);
  const except = (spec.except ?? []).flatMap((text, i) => {
    const at = [...path, "except", i];
    const exception = read(text, at);
    if (cidr && exception && (!cidr.covers(exception) || exception.prefix === cidr.prefix)) {
      root.error(at, `${text} does not lie within ${cidr}`);
    }
    return exception ?? [];
  });
  return cidr && { kind: "block", block: new IpBlock(cidr, except) };
}

function convertPort(root: Root, { protocol = "TCP", port, endPort }: PortSpec, path: Path): PortRange {
  if (endPort !== undefined) {
    const at = [...path, "endPort"];
    if (typeof port !== "number") root.error(at, "needs a port, which is a number");
    else if (endPort < port) root.error(at, `${endPort} is below port ${port}`);
  }
  return { protocol: protocol.toLowerCase() as PolicyProtocol, port, endPort };
}

function checkSelector(root: Root, path: Path, selector: SelectorSpec | undefined): void {
  selector?.matchExpressions?.forEach(({ operator, values = [] }, i) => {
    const at = [...path, "matchExpressions", i];
    const wants = operator === "In" || operator === "NotIn";
    if (wants && values.length === 0) root.error(at, `${operator} needs values`);
    if (!wants && values.length > 0) root.error([...at, "values"], `${operator} takes no values`);
  });
}
