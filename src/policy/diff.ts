/**
 * What a change of policies changes: which connections between workloads, and with the outside, would be allowed that were not, and the other
 * way round.
 *
 * Nothing is sampled where it need not be: ports and addresses are cut at every boundary that a rule of either set names; between
 * two boundaries all are alike, so one of them speaks for all.
 *
 * @module
 */

import { type Address, addressOf } from "../net/address.ts";
import type { PolicyProtocol, Rule, Workload } from "./model.ts";
import type { PolicySet } from "./policy_set.ts";
import { reasonOf } from "./reason.ts";
import type { Cidr } from "../net/cidr.ts";

/** Connections whose verdict differs. */
export interface Change {
  readonly from: string;
  readonly to: string;
  readonly protocol: PolicyProtocol;
  /** First and last. */
  readonly ports: readonly [number, number];
  readonly allowedBefore: boolean;
  readonly allowedAfter: boolean;
  readonly reasonBefore: string;
  readonly reasonAfter: string;
}

const PORT_MAX = 65_535;

interface End {
  readonly name: string;
  readonly workload: Workload | undefined;
  readonly address: Address;
  readonly names: readonly string[];
}

/** What changes from one set to another, in the order of the workloads. */
export function* diff(before: PolicySet, after: PolicySet, workloads: readonly Workload[]): Iterable<Change> {
  const outside = [...outsideEnds([before, after])];
  for (const workload of workloads) {
    const here = endOf(workload);
    for (const peer of workloads) if (peer !== workload) yield* between(before, after, here, endOf(peer));
  }
  for (const workload of workloads.filter(({ isVm }) => isVm)) {
    yield* joined(outside.map((end) => [...between(before, after, endOf(workload), end)]), "to");
    const inbound = outside.filter(({ names }) => names.length === 0);
    yield* joined(inbound.map((end) => [...between(before, after, end, endOf(workload))]), "from");
  }
}

function endOf(workload: Workload): End {
  return { name: workload.name, workload, address: workload.addresses[0]!, names: [] };
}

function* between(before: PolicySet, after: PolicySet, from: End, to: End): Iterable<Change> {
  const rules = [before, after].flatMap((set) => [
    ...(from.workload ? set.rules("egress", from.workload) : []),
    ...(to.workload ? set.rules("ingress", to.workload) : []),
  ]);
  for (const protocol of ["tcp", "udp"] as const) {
    let open: Change | undefined;
    for (const [first, last] of portSegments(rules, protocol, to.workload)) {
      const connection = {
        protocol,
        from: from.workload,
        source: from.address,
        to: to.workload,
        destination: to.address,
        port: first,
        names: to.names,
      };
      const [a, b] = [before.evaluate(connection), after.evaluate(connection)];
      const same = a.allow === b.allow;
      if (open && (same || open.allowedBefore !== a.allow)) {
        yield open;
        open = undefined;
      }
      if (same) continue;
      open = open ? { ...open, ports: [open.ports[0], last] } : {
        from: from.name,
        to: to.name,
        protocol,
        ports: [first, last],
        allowedBefore: a.allow,
        allowedAfter: b.allow,
        reasonBefore: reasonOf(a),
        reasonAfter: reasonOf(b),
      };
    }
    if (open) yield open;
  }
}

/** All ports, cut wherever a rule begins or ends. */
function portSegments(
  rules: readonly Rule[],
  protocol: PolicyProtocol,
  destination: Workload | undefined,
): [number, number][] {
  const starts = new Set([1]);
  const add = (first: number, last: number): void => void starts.add(first).add(last + 1);
  for (const { ports = [] } of rules) {
    for (const range of ports) {
      if (range.protocol !== protocol) continue;
      if (typeof range.port === "number") add(range.port, range.endPort ?? range.port);
      else if (range.port !== undefined) {
        for (const { name, port } of destination?.ports ?? []) if (name === range.port) add(port, port);
      }
    }
  }
  const sorted = [...starts].filter((port) => port <= PORT_MAX).sort((a, b) => a - b);
  return sorted.map((port, i) => [port, (sorted[i + 1] ?? PORT_MAX + 1) - 1]);
}

/** Addresses outside, one for all that no rule tells apart, and one for each name that a rule names. */
function* outsideEnds(sets: readonly PolicySet[]): Iterable<End> {
  const cidrs: Cidr[] = [];
  const names = new Set<string>();
  for (const { policies } of sets) {
    for (const { rules } of policies) {
      for (const { peers = [] } of rules) {
        for (const peer of peers) {
          if (peer.kind === "block") cidrs.push(peer.block.cidr, ...peer.block.except);
          if (peer.kind === "domains") { for (const { text } of peer.patterns) names.add(text); }
        }
      }
    }
  }
  for (const family of [4, 6] as const) {
    yield* addressSegments(cidrs.filter(({ address }) => address.family === family), family);
  }
  const anywhere = addressOf(Uint8Array.of(192, 0, 2, 1));
  for (const text of names) {
    const name = text.replace(/^\*\./, "any.");
    yield { name: text, workload: undefined, address: anywhere, names: [name] };
  }
}

function* addressSegments(cidrs: readonly Cidr[], family: 4 | 6): Iterable<End> {
  const bits = family === 4 ? 32 : 128;
  const starts = new Set([0n]);
  for (const { address, prefix } of cidrs) {
    const size = 1n << BigInt(bits - prefix);
    const base = numberOf(address) / size * size;
    starts.add(base).add(base + size);
  }
  const sorted = [...starts].filter((start) => start < 1n << BigInt(bits)).sort((a, b) => a < b ? -1 : 1);
  for (const [i, start] of sorted.entries()) {
    const end = (sorted[i + 1] ?? 1n << BigInt(bits)) - 1n;
    const [first, last] = [addressAt(start, bits), addressAt(end, bits)];
    yield { name: `${first.text}-${last.text}`, workload: undefined, address: first, names: [] };
  }
}

function numberOf({ bytes }: Address): bigint {
  return bytes.reduce((value, byte) => value << 8n | BigInt(byte), 0n);
}

function addressAt(value: bigint, bits: number): Address {
  return addressOf(
    Uint8Array.from({ length: bits / 8 }, (_, i) => Number(value >> BigInt(bits - 8 * (i + 1)) & 0xffn)),
  );
}

/** Changes of neighbouring address ranges that are alike, as one. @param field Which end is outside. */
function* joined(changes: readonly (readonly Change[])[], field: "from" | "to"): Iterable<Change> {
  const open = new Map<string, Change>();
  for (const group of changes) {
    const keys = new Set<string>();
    for (const change of group) {
      const key = JSON.stringify([change.protocol, change.ports, change.allowedAfter]);
      keys.add(key);
      const known = open.get(key);
      const next = known && join(known[field], change[field]);
      if (next !== undefined) open.set(key, { ...known!, [field]: next });
      else {
        if (known) yield known;
        open.set(key, change);
      }
    }
    for (const [key, change] of [...open]) {
      if (keys.has(key)) continue;
      yield change;
      open.delete(key);
    }
  }
  yield* open.values();
}

/** Two ranges of one family, of which the second follows the first, as one; names never join. */
function join(first: string, second: string): string | undefined {
  const [from, , ...rest] = first.split("-");
  const [begin, to] = second.split("-");
  if (rest.length > 0 || !isAddress(from) || !isAddress(begin) || !to) return undefined;
  return from!.includes(":") === begin!.includes(":") ? `${from}-${to}` : undefined;
}

function isAddress(text: string | undefined): boolean {
  return text !== undefined && /^[\d.]+$|:/.test(text);
}

/** A change as a line for people. */
export function formatChange(change: Change): string {
  const { from, to, protocol, ports: [first, last], allowedAfter, reasonAfter } = change;
  const ports = first === 1 && last === PORT_MAX ? "all ports" : first === last ? `${first}` : `${first}-${last}`;
  return `${allowedAfter ? "+ allow" : "- deny "} ${from} -> ${to} ${ports}/${protocol}: ${reasonAfter}`;
}
