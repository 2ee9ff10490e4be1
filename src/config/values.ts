/**
 * Readers of single values, shared by the command line and the configuration file. All throw {@linkcode ConfigError} with a
 * message that says what would be right.
 *
 * @module
 */

import type { OnChange, OnDeny, Publication } from "../host/switch.ts";
import { type Action, type NamedPort, type PolicyProtocol, protocols } from "../policy/model.ts";
import { labelKey, labelValue, namespaceName, portName, type Syntax } from "../policy/schema.ts";
import { type Address, AddressError, type Endpoint, isMapped, Network, parseAddress } from "../net/address.ts";
import { Cidr } from "../net/cidr.ts";
import { ConfigError, type LogLevel, logLevels, type Service } from "./config.ts";

const SOCKET_PATH_MAX = 107;

/** Names that stand for no VM: in the log, and in questions about policies. */
const RESERVED_NAMES = ["host", "switch"];

/** A VM's name: a DNS label in lower case. */
export function readName(text: string): string {
  if (RESERVED_NAMES.includes(text)) throw new ConfigError(`"${text}" is not for VMs: it names the host or the switch`);
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(text)) {
    throw new ConfigError(
      `"${text}" is not a VM name: use up to 63 lower-case letters, digits and hyphens, as in a host name`,
    );
  }
  return text;
}

/** A unix socket's path. */
export function readSocketPath(text: string): string {
  if (text === "") throw new ConfigError("a socket's path is empty");
  if (text.includes("\0")) throw new ConfigError("a socket's path contains a zero byte");
  if (new TextEncoder().encode(text).length > SOCKET_PATH_MAX) {
    throw new ConfigError(`socket path "${text}" is longer than ${SOCKET_PATH_MAX} bytes`);
  }
  return text;
}

/** An address of a family. */
export function readAddress(text: string, family: 4 | 6): Address {
  const address = rethrow(() => parseAddress(text));
  if (address.family !== family) throw new ConfigError(`"${text}" is not an IPv${family} address`);
  return address;
}

/** A network of a family, such as 10.77.0.0/16. */
export function readNetwork(text: string, family: 4 | 6): Network {
  const network = rethrow(() => Network.parse(text));
  if (network.family !== family) throw new ConfigError(`"${text}" is not an IPv${family} network`);
  if (isMapped(network.at(0)!)) throw new ConfigError(`"${text}" is IPv4's: IPv4-mapped addresses stand for those`);
  return network;
}

function rethrow<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof AddressError) throw new ConfigError(error.message);
    throw error;
  }
}

/** A size such as 256KiB or 1GiB, in bytes: a power of two within bounds. */
export function readSize(text: string, min: number, max: number): number {
  const match = /^(\d{1,6})(?: ?(KiB|MiB|GiB|K|M|G))?$/i.exec(text);
  const unit = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }[match?.[2]?.[0]?.toLowerCase() ?? ""] ?? 1;
  const bytes = Number(match?.[1]) * unit;
  if (!match || bytes < min || bytes > max || !Number.isInteger(Math.log2(bytes))) {
    throw new ConfigError(`"${text}" is not a size: use a power of two from ${formatSize(min)} to ${formatSize(max)}`);
  }
  return bytes;
}

function formatSize(bytes: number): string {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]] as const) {
    if (bytes >= size) return `${bytes / size}${unit}`;
  }
  return `${bytes}`;
}

/** A port. */
export function readPort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (!(port >= 1 && port <= 65535)) throw new ConfigError(`"${text}" is not a port: use a number from 1 to 65535`);
  return port;
}

/** An address and a port: `127.0.0.1:5432`, `[::1]:5432`. @param defaultPort Where no port is said. */
export function readEndpoint(text: string, defaultPort?: number): Endpoint {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text);
  const bare = defaultPort !== undefined && text.includes(":") && !text.includes("[") && !match?.[3] ? text : undefined;
  const address = bare ?? match?.[1] ?? match?.[2];
  const port = bare === undefined ? match?.[3] : undefined;
  if (address === undefined || (port === undefined && defaultPort === undefined)) {
    throw new ConfigError(`"${text}" is not an address with a port, such as 127.0.0.1:5432 or [::1]:5432`);
  }
  return {
    address: rethrow(() => parseAddress(address)),
    port: port === undefined ? defaultPort! : readPort(port),
  };
}

/**
 * A published port: `[host-address:]port=vm:port[/udp]`. Without an address, on all of the host's: one publication for
 * each family.
 */
export function readPublication(text: string): Publication[] {
  const match = /^(?:(.+):)?(\d+)=([^:/]+):(\d+)(?:\/(tcp|udp))?$/.exec(text);
  if (!match) {
    throw new ConfigError(
      `"${text}" is not a published port, such as 8080=web:80, 127.0.0.1:8080=web:80 or 53=dns:53/udp`,
    );
  }
  const [, host, from, vm, to, protocol] = match;
  const hosts = host === undefined ? ["0.0.0.0", "::"] : [host.replace(/^\[(.*)\]$/, "$1")];
  return hosts.map((address) => ({
    protocol: protocol === "udp" ? "udp" : "tcp",
    host: { address: rethrow(() => parseAddress(address)), port: readPort(from!) },
    vm: readName(vm!),
    port: readPort(to!),
  }));
}

/** A service name: `name=vm` or `name=address`, several of them with commas. */
export function readService(text: string): Service {
  const [name, list, ...rest] = text.split("=");
  if (!name || !list || rest.length > 0) {
    throw new ConfigError(`"${text}" is not a service name, such as db.internal=web or db.internal=10.77.0.10`);
  }
  return { name: readHostName(name), targets: list.split(",").map(readTarget) };
}

/** A DNS name, in lower case. */
export function readHostName(text: string): string {
  const name = text.toLowerCase().replace(/\.$/, "");
  if (name.length > 253 || !name.split(".").every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label))) {
    throw new ConfigError(`"${text}" is not a DNS name`);
  }
  return name;
}

/** What a service name leads to: an address, or a VM's name. */
export function readTarget(text: string): string | Address {
  return /[:]|^[\d.]+$/.test(text) ? rethrow(() => parseAddress(text)) : readName(text);
}

/** Yes or no. */
export function readBoolean(text: string): boolean {
  return readChoice(text, ["true", "false"]) === "true";
}

/** Ring size, in bytes. */
export function readRingSize(text: string): number {
  return readSize(text, 16 << 10, 16 << 20);
}

/** Window size, in bytes. */
export function readWindowSize(text: string): number {
  return readSize(text, 2 ** 28, 2 ** 38);
}

/** Addresses: a range such as 10.0.0.0/8, or a single one. IPv4-mapped ones are read as IPv4. */
export function readCidr(text: string): Cidr {
  const range = text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`;
  return rethrow(() => Cidr.parse(range).unmapped());
}

/** Seconds, up to a day. */
export function readSeconds(text: string): number {
  const seconds = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (!(seconds <= 86_400)) throw new ConfigError(`"${text}" is not a time: use a number of seconds from 0 to 86400`);
  return seconds;
}

/** A VM's share of busy CPUs. */
export function readCpuWeight(text: string): number {
  const weight = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (!(weight >= 1 && weight <= 10_000)) {
    throw new ConfigError(`"${text}" is not a weight: use a number from 1 to 10000`);
  }
  return weight;
}

/** Memory, in bytes, such as 64MiB. */
export function readMemory(text: string): number {
  const match = /^(\d{1,6}) ?(MiB|GiB|M|G)$/i.exec(text);
  const bytes = Number(match?.[1]) * (match?.[2]?.toLowerCase().startsWith("g") ? 2 ** 30 : 2 ** 20);
  // Less than that no port can begin with.
  if (!match || bytes < 16 * 2 ** 20) {
    throw new ConfigError(`"${text}" is not a size: use 16MiB or more, such as 64MiB`);
  }
  return bytes;
}

/** CPUs, such as 0-3,6. */
export function readCpus(text: string): string {
  const ranges = text.split(",").map((range) => /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(range));
  if (!ranges.every((match) => match && Number(match[2] ?? match[1]) >= Number(match[1]))) {
    throw new ConfigError(`"${text}" are not CPUs: use numbers and ranges, such as 0-3,6`);
  }
  return text;
}

/** Permission bits such as 0660. */
export function readMode(text: string): number {
  if (!/^0?[0-7]{3}$/.test(text)) {
    throw new ConfigError(`"${text}" is not a mode: use three octal digits, such as 0660`);
  }
  return parseInt(text, 8);
}

/** One word of a list. */
export function readChoice<T extends string>(text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw new ConfigError(`"${text}" is not one of ${choices.join(", ")}`);
  return found;
}

/** What becomes of what no policy speaks of. */
export function readAction(text: string): Action {
  return readChoice(text, ["allow", "deny"]);
}

/** What a denied attempt comes to. */
export function readOnDeny(text: string): OnDeny {
  return readChoice(text, ["refuse", "unreachable", "prohibit", "drop"]);
}

/** What becomes of circuits that a changed policy forbids. */
export function readOnChange(text: string): OnChange {
  return readChoice(text, ["cut", "keep"]);
}

/** A path of a file. */
export function readPath(text: string): string {
  if (text === "" || text.includes("\0")) throw new ConfigError(`"${text}" is not a path`);
  return text;
}

/** A namespace of VMs. */
export function readNamespace(text: string): string {
  return readSyntax(text, namespaceName);
}

/** A label's key. */
export function readLabelKey(text: string): string {
  return readSyntax(text, labelKey);
}

/** A label's value. */
export function readLabelValue(text: string): string {
  return readSyntax(text, labelValue);
}

/** The name of a port. */
export function readPortName(text: string): string {
  return readSyntax(text, portName);
}

function readSyntax(text: string, { matches, expected }: Syntax): string {
  if (!matches(text)) throw new ConfigError(`"${text}" is not ${expected}`);
  return text;
}

/** A label: `key=value`. */
export function readLabel(text: string): [key: string, value: string] {
  const [key, value, ...rest] = text.split("=");
  if (!key || value === undefined || rest.length > 0) {
    throw new ConfigError(`"${text}" is not a label such as app=web`);
  }
  return [readLabelKey(key), readLabelValue(value)];
}

/** A port that policies call by a name: `postgres:5432` or `dns:53/udp`. */
export function readNamedPort(text: string): NamedPort {
  const match = /^([^:]+):(\d+)(?:\/(\w+))?$/.exec(text);
  if (!match) throw new ConfigError(`"${text}" is not a named port such as postgres:5432 or dns:53/udp`);
  return {
    name: readPortName(match[1]!),
    port: readPort(match[2]!),
    protocol: readProtocol(match[3] ?? "tcp"),
  };
}

/** A protocol of ports, in upper or lower case. */
export function readProtocol(text: string): PolicyProtocol {
  return readChoice(text.toLowerCase(), protocols);
}

/** A level of the log. */
export function readLogLevel(text: string): LogLevel {
  return readChoice(text, logLevels);
}

/** The log's format. */
export function readLogFormat(text: string): "text" | "json" {
  return readChoice(text, ["text", "json"]);
}
