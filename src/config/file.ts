/**
 * The configuration file: YAML, read strictly, with every error at its position.
 *
 * @module
 */

import { isMap, isScalar, isSeq, type Node } from "yaml";
import type { Namespaces, PortResources, SharedSocket, VmConfig, VmProfile } from "../host/switch.ts";
import type { NamedPort } from "../policy/model.ts";
import type { Labels } from "../policy/selector.ts";
import { readYaml } from "../yaml/documents.ts";
import { type Config, ConfigError, NOTHING, type Service } from "./config.ts";
import {
  readAction,
  readAddress,
  readBoolean,
  readCidr,
  readCpus,
  readCpuWeight,
  readEndpoint,
  readHostName,
  readLabelKey,
  readLabelValue,
  readLogFormat,
  readLogLevel,
  readMemory,
  readMode,
  readName,
  readNamespace,
  readNetwork,
  readOnChange,
  readOnDeny,
  readPath,
  readPort,
  readPortName,
  readProtocol,
  readPublication,
  readRingSize,
  readSeconds,
  readSocketPath,
  readTarget,
  readWindowSize,
} from "./values.ts";
import { YamlReader } from "./yaml_reader.ts";

const DNS_PORT = 53;

/**
 * Read a configuration file's text.
 *
 * @param file Its name, for messages.
 * @throws {ConfigError} with one line per error, each as `file:line:column: path: message`.
 *
 * @example
 * ```ts
 * import { parseConfigFile } from "./file.ts";
 * import { assertEquals } from "@std/assert";
 * const config = parseConfigFile("csvn.yaml", "vms:\n  - {name: web, socket: /run/csvn/web.sock}\n");
 * assertEquals(config.vms[0]?.name, "web");
 * ```
 */
export function parseConfigFile(file: string, text: string): Config {
  const yaml = readYaml(text);
  const reader = new YamlReader(file, yaml);
  for (const { line, column, message } of yaml.problems) reader.errors.push(`${file}:${line}:${column}: ${message}`);
  const [first, second] = yaml.documents;
  if (second) reader.error(second.contents as Node | null, "one document is expected");
  const config = reader.errors.length === 0 ? readConfig(reader, first?.contents ?? null) : undefined;
  if (reader.errors.length > 0 || !config) throw new ConfigError(reader.errors.join("\n"));
  return config;
}

function readConfig(reader: YamlReader, contents: unknown): Config {
  if (contents === null || (isScalar(contents) && contents.value === null)) return NOTHING;
  const f = reader.fields(contents, "", [
    "sockets",
    "socketMode",
    "vms",
    "policy",
    "policyDefault",
    "onDeny",
    "onChange",
    "audit",
    "auditLog",
    "namespaces",
    "network",
    "network6",
    "ringSize",
    "windowSize",
    "outside",
    "publish",
    "allowHost",
    "forbid",
    "resolvers",
    "learnedNames",
    "services",
    "api",
    "cgroup",
    "logLevel",
    "logFormat",
  ]);
  const one = <T>(node: Node | undefined, path: string, read: (text: string) => T): T | undefined =>
    node && reader.scalar(node, path, read);
  return {
    sockets: f.sockets ? reader.items(f.sockets, "sockets").flatMap((item, i) => readSocket(reader, item, i)) : [],
    vms: f.vms ? readVms(reader, f.vms) : [],
    socketMode: one(f.socketMode, "socketMode", readMode),
    policy: f.policy ? readPolicy(reader, f.policy) : [],
    defaultAction: one(f.policyDefault, "policyDefault", readAction),
    onDeny: one(f.onDeny, "onDeny", readOnDeny),
    onChange: one(f.onChange, "onChange", readOnChange),
    audit: one(f.audit, "audit", readBoolean),
    auditLog: one(f.auditLog, "auditLog", readPath),
    namespaces: f.namespaces ? readNamespaces(reader, f.namespaces) : new Map(),
    network4: one(f.network, "network", (text) => readNetwork(text, 4)),
    network6: one(f.network6, "network6", (text) => readNetwork(text, 6)),
    ringBytes: one(f.ringSize, "ringSize", readRingSize),
    windowBytes: one(f.windowSize, "windowSize", readWindowSize),
    outside: one(f.outside, "outside", readBoolean),
    publish: reader.list(f.publish, "publish", readPublication).flat(),
    allowHost: reader.list(f.allowHost, "allowHost", readEndpoint),
    forbid: reader.list(f.forbid, "forbid", readCidr),
    learnedSeconds: one(f.learnedNames, "learnedNames", readSeconds),
    resolvers: reader.list(f.resolvers, "resolvers", (text) => readEndpoint(text, DNS_PORT)),
    services: f.services ? readServices(reader, f.services) : [],
    api: one(f.api, "api", readSocketPath),
    cgroup: one(f.cgroup, "cgroup", readPath),
    logLevel: one(f.logLevel, "logLevel", readLogLevel),
    logFormat: one(f.logFormat, "logFormat", readLogFormat),
  };
}

/** A word, a path, or a list of paths. */
function readPolicy(reader: YamlReader, node: Node): string[] {
  if (isScalar(node) && typeof node.value === "string") return [reader.scalar(node, "policy", readPath) ?? ""];
  if (isSeq(node) && node.items.length > 0) return reader.list(node, "policy", readPath);
  reader.error(node, "policy: allow, deny, or a list of paths is expected");
  return [];
}

/** A mapping of names to a target, or to a list of them. */
function readServices(reader: YamlReader, node: Node): Service[] {
  return reader.entries(node, "services", readHostName).map(({ key, value, path }) => {
    const targets = isSeq(value) ? value.items as Node[] : [value];
    return { name: key, targets: targets.flatMap((target) => reader.scalar(target, path, readTarget) ?? []) };
  });
}

/** A mapping of namespaces to their labels. */
function readNamespaces(reader: YamlReader, node: Node): Namespaces {
  return new Map(
    reader.entries(node, "namespaces", readNamespace).map(({ key, value, path }) => {
      const f = reader.fields(value, path, ["labels"]);
      return [key, f.labels ? readLabels(reader, f.labels, `${path}.labels`) : {}];
    }),
  );
}

function readLabels(reader: YamlReader, node: Node, path: string): Labels {
  return Object.fromEntries(
    reader.entries(node, path, readLabelKey).flatMap(({ key, value, path }) => {
      const text = reader.scalar(value, path, readLabelValue);
      return text === undefined ? [] : [[key, text]];
    }),
  );
}

const profileFields = ["namespace", "labels", "ports", "onDeny", "audit"] as const;

/** What a VM, or those of a socket, are to policies. */
function readProfile(
  reader: YamlReader,
  f: Partial<Record<typeof profileFields[number], Node>>,
  path: string,
): VmProfile {
  return {
    namespace: f.namespace && reader.scalar(f.namespace, `${path}.namespace`, readNamespace),
    labels: f.labels && readLabels(reader, f.labels, `${path}.labels`),
    ports: f.ports && readPorts(reader, f.ports, `${path}.ports`),
    onDeny: f.onDeny && reader.scalar(f.onDeny, `${path}.onDeny`, readOnDeny),
    audit: f.audit && reader.scalar(f.audit, `${path}.audit`, readBoolean),
  };
}

const resourceFields = ["cpuWeight", "memoryMax", "cpus"] as const;

/** What a VM's port, or each of a socket's, may have of the host. */
function readResources(
  reader: YamlReader,
  f: Partial<Record<typeof resourceFields[number], Node>>,
  path: string,
): PortResources {
  return {
    cpuWeight: f.cpuWeight && reader.scalar(f.cpuWeight, `${path}.cpuWeight`, readCpuWeight),
    memoryMax: f.memoryMax && reader.scalar(f.memoryMax, `${path}.memoryMax`, readMemory),
    cpus: f.cpus && reader.scalar(f.cpus, `${path}.cpus`, readCpus),
  };
}

function readPorts(reader: YamlReader, node: Node, path: string): NamedPort[] {
  const seen = new Set<string>();
  return reader.items(node, path).flatMap((item, i) => {
    const at = `${path}[${i}]`;
    const f = reader.fields(item, at, ["name", "port", "protocol"]);
    if (!f.name || !f.port) reader.error(item, `${at}: name and port are expected`);
    const name = f.name && reader.scalar(f.name, `${at}.name`, readPortName);
    const port = f.port && reader.scalar(f.port, `${at}.port`, readPort);
    const protocol = f.protocol ? reader.scalar(f.protocol, `${at}.protocol`, readProtocol) : "tcp" as const;
    if (name === undefined || port === undefined || protocol === undefined) return [];
    if (seen.has(`${name}/${protocol}`)) reader.error(item, `${at}.name: "${name}" is there already for ${protocol}`);
    seen.add(`${name}/${protocol}`);
    return [{ name, port, protocol }];
  });
}

/** A socket for any number of VMs: its path, or a mapping that says more. */
function readSocket(reader: YamlReader, node: Node, index: number): SharedSocket[] {
  const at = `sockets[${index}]`;
  if (!isMap(node)) {
    const path = reader.scalar(node, at, readSocketPath);
    return path === undefined ? [] : [{ path }];
  }
  const f = reader.fields(node, at, ["path", ...profileFields, ...resourceFields]);
  if (!f.path) reader.error(node, `${at}.path: is missing`);
  const path = f.path && reader.scalar(f.path, `${at}.path`, readSocketPath);
  return path === undefined ? [] : [{ path, ...readProfile(reader, f, at), ...readResources(reader, f, at) }];
}

function readVms(reader: YamlReader, node: Node): VmConfig[] {
  const names = new Map<string, number>();
  return reader.items(node, "vms").flatMap((item, i) => {
    const path = `vms[${i}]`;
    const f = reader.fields(item, path, ["name", "socket", "address", "address6", ...profileFields, ...resourceFields]);
    if (!f.name) reader.error(item, `${path}.name: is missing`);
    if (!f.socket) reader.error(item, `${path}.socket: is missing`);
    const name = f.name && reader.scalar(f.name, `${path}.name`, readName);
    const socket = f.socket && reader.scalar(f.socket, `${path}.socket`, readSocketPath);
    const address = f.address && reader.scalar(f.address, `${path}.address`, (text) => readAddress(text, 4));
    const address6 = f.address6 && reader.scalar(f.address6, `${path}.address6`, (text) => readAddress(text, 6));
    const profile = { ...readProfile(reader, f, path), ...readResources(reader, f, path) };
    if (name !== undefined && names.has(name)) {
      reader.error(f.name, `${path}.name: "${name}" is vms[${names.get(name)}] already`);
    }
    if (name === undefined || socket === undefined) return [];
    names.set(name, i);
    return [{ name, socket, address, address6, ...profile }];
  });
}
