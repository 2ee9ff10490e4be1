/**
 * Questions to a set of policies, as people write them: from `web` to `db:5432/tcp`.
 *
 * @module
 */

import { type Address, AddressError, addressOf, parseAddress, unmapped } from "../net/address.ts";
import { canonicalDomain } from "./domain_pattern.ts";
import { type Connection, type PolicyProtocol, protocols, type Workload } from "./model.ts";

/** A question cannot be understood; the message says why. */
export class QuestionError extends Error {
  override readonly name = "QuestionError";
}

/** Stands for whatever address a DNS name has: 192.0.2.1, of a network that nobody uses. */
const SOME_ADDRESS = addressOf(Uint8Array.of(192, 0, 2, 1));

/**
 * The connection that is asked about.
 *
 * @param from A workload's name, or an address outside.
 * @param to A workload's name, an address or a DNS name, with a port (or one that the workload declares, by its name) and, unless it is
 * tcp, a protocol.
 * @throws {QuestionError}
 */
export function parseQuestion(from: string, to: string, workloads: readonly Workload[]): Connection {
  const match = /^(?:\[([^\]]+)\]|([^:/]+)):([^:/]+)(?:\/(\w+))?$/.exec(to);
  if (!match) {
    throw new QuestionError(`"${to}" is not a destination such as db:5432/tcp, 203.0.113.9:443 or api.example.com:443`);
  }
  const [, bracketed, bare, port, word = "tcp"] = match;
  const protocol = protocols.find((known) => known === word.toLowerCase());
  if (!protocol) throw new QuestionError(`"${word}" is not one of ${protocols.join(", ")}`);
  const destination = destinationOf(bracketed ?? bare!, workloads);
  const source = sourceOf(from, destination.address, workloads);
  return {
    protocol,
    from: source.workload,
    source: source.address,
    to: destination.workload,
    destination: destination.address,
    port: portOf(port!, protocol, destination.workload),
    names: destination.names,
  };
}

function byName(name: string, workloads: readonly Workload[]): Workload | undefined {
  const address = addressFrom(name)?.text;
  return workloads.find((workload) => workload.name === name) ??
    workloads.find((workload) => workload.addresses.some(({ text }) => text === address));
}

function sourceOf(
  text: string,
  destination: Address,
  workloads: readonly Workload[],
): { workload: Workload | undefined; address: Address } {
  const workload = byName(text, workloads);
  const address = workload?.addresses.find(({ family }) => family === destination.family) ?? addressFrom(text);
  if (!address) throw new QuestionError(`"${text}" is neither ${known(workloads)} nor an address`);
  return { workload, address };
}

function destinationOf(
  text: string,
  workloads: readonly Workload[],
): { workload: Workload | undefined; address: Address; names: string[] } {
  const workload = byName(text, workloads);
  if (workload) {
    const address = workload.addresses.find((address) => address.text === text) ?? workload.addresses[0]!;
    return { workload, address, names: [] };
  }
  const address = addressFrom(text);
  if (address) return { workload: undefined, address, names: [] };
  const name = text.includes(".") ? canonicalDomain(text) : undefined;
  if (name === undefined) {
    throw new QuestionError(`"${text}" is neither ${known(workloads)} nor an address or a DNS name`);
  }
  return { workload: undefined, address: SOME_ADDRESS, names: [name] };
}

function addressFrom(text: string): Address | undefined {
  try {
    return unmapped(parseAddress(text));
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
}

function portOf(text: string, protocol: PolicyProtocol, workload: Workload | undefined): number {
  const named = workload?.ports.find((port) => port.name === text && port.protocol === protocol);
  const port = named?.port ?? (/^\d{1,5}$/.test(text) ? Number(text) : NaN);
  if (port >= 1 && port <= 65_535) return port;
  const declared = workload?.ports.map(({ name }) => name).join(", ") || "no port names";
  throw new QuestionError(
    `"${text}" is not a port from 1 to 65535` +
      (workload ? `; ${workload.name} declares ${declared} for policies` : ""),
  );
}

function known(workloads: readonly Workload[]): string {
  const names = workloads.slice(0, 10).map(({ name }) => name);
  if (names.length === 0) return "a VM (none is known)";
  return `one of ${names.join(", ")}${workloads.length > names.length ? ", …" : ""}`;
}
