/**
 * The configuration file: YAML, read strictly, with every error at its position.
 *
 * @module
 */

import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from "yaml";
import type { VmConfig } from "../host/switch.ts";
import { type Config, ConfigError, NOTHING, type Service } from "./config.ts";
import {
  readAddress,
  readBoolean,
  readEndpoint,
  readHostName,
  readLogFormat,
  readLogLevel,
  readMode,
  readName,
  readNetwork,
  readPolicy,
  readPublication,
  readRingSize,
  readSocketPath,
  readTarget,
  readWindowSize,
} from "./values.ts";

const DNS_PORT = 53;
const FILE_MAX = 1 << 20;

/** Collects errors with their positions. */
class Reader {
  readonly errors: string[] = [];

  constructor(readonly file: string, readonly lines: LineCounter) {}

  error(at: Node | number | null | undefined, message: string): void {
    const offset = typeof at === "number" ? at : at?.range?.[0] ?? 0;
    const { line, col } = this.lines.linePos(offset);
    this.errors.push(`${this.file}:${Math.max(1, line)}:${Math.max(1, col)}: ${message}`);
  }

  /** A scalar, read by one of the readers of values.ts. */
  scalar<T>(node: unknown, path: string, read: (text: string) => T): T | undefined {
    if (!isScalar(node) || node.value === null || typeof node.value === "object") {
      this.error(node as Node, `${path}: a single value is expected`);
      return undefined;
    }
    try {
      // As written: 0660 must not become 432.
      return read(typeof node.value === "string" ? node.value : node.source ?? String(node.value));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.error(node, `${path}: ${error.message}`);
      return undefined;
    }
  }

  /** The fields of a mapping, those that are known; each key is checked. */
  fields<K extends string>(node: unknown, path: string, known: readonly K[]): Partial<Record<K, Node>> {
    const found: Partial<Record<K, Node>> = {};
    if (!isMap(node)) {
      this.error(node as Node, `${path || "the file"}: a mapping is expected`);
      return found;
    }
    for (const { key, value } of (node as YAMLMap<Node, Node | null>).items) {
      const name = isScalar(key) ? String(key.value) : undefined;
      const field = known.find((candidate) => candidate === name);
      if (field === undefined) {
        this.error(key, `${path ? path + "." : ""}${name ?? "?"}: unknown field; known are ${known.join(", ")}`);
      } else if (value === null) {
        this.error(key, `${path ? path + "." : ""}${field}: has no value`);
      } else {
        found[field] = value;
      }
    }
    return found;
  }

  /** The items of a sequence. */
  items(node: unknown, path: string): Node[] {
    if (isSeq(node)) return node.items as Node[];
    this.error(node as Node, `${path}: a list is expected`);
    return [];
  }
}

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
  if (text.length > FILE_MAX) throw new ConfigError(`${file}: longer than ${FILE_MAX} bytes`);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, schema: "core", strict: true, uniqueKeys: true });
  const reader = new Reader(file, lines);
  for (const error of document.errors) {
    // The library's message goes on with an excerpt; its first line is what happened.
    reader.error(error.pos[0], error.message.split(/ at line \d+|\n/)[0]!);
  }
  const config = document.errors.length === 0 ? readConfig(reader, document.contents) : undefined;
  if (reader.errors.length > 0 || !config) throw new ConfigError(reader.errors.join("\n"));
  return config;
}

function readConfig(reader: Reader, contents: unknown): Config {
  if (contents === null || (isScalar(contents) && contents.value === null)) return NOTHING;
  const f = reader.fields(contents, "", [
    "sockets",
    "socketMode",
    "vms",
    "policy",
    "network",
    "network6",
    "ringSize",
    "windowSize",
    "outside",
    "publish",
    "allowHost",
    "resolvers",
    "services",
    "api",
    "logLevel",
    "logFormat",
  ]);
  const one = <T>(node: Node | undefined, path: string, read: (text: string) => T): T | undefined =>
    node && reader.scalar(node, path, read);
  return {
    sockets: readList(reader, f.sockets, "sockets", readSocketPath),
    vms: f.vms ? readVms(reader, f.vms) : [],
    socketMode: one(f.socketMode, "socketMode", readMode),
    policy: one(f.policy, "policy", readPolicy),
    network4: one(f.network, "network", (text) => readNetwork(text, 4)),
    network6: one(f.network6, "network6", (text) => readNetwork(text, 6)),
    ringBytes: one(f.ringSize, "ringSize", readRingSize),
    windowBytes: one(f.windowSize, "windowSize", readWindowSize),
    outside: one(f.outside, "outside", readBoolean),
    publish: readList(reader, f.publish, "publish", readPublication).flat(),
    allowHost: readList(reader, f.allowHost, "allowHost", readEndpoint),
    resolvers: readList(reader, f.resolvers, "resolvers", (text) => readEndpoint(text, DNS_PORT)),
    services: f.services ? readServices(reader, f.services) : [],
    api: one(f.api, "api", readSocketPath),
    logLevel: one(f.logLevel, "logLevel", readLogLevel),
    logFormat: one(f.logFormat, "logFormat", readLogFormat),
  };
}

function readList<T>(reader: Reader, node: Node | undefined, path: string, read: (text: string) => T): T[] {
  if (!node) return [];
  return reader.items(node, path).flatMap((item, i) => {
    const value = reader.scalar(item, `${path}[${i}]`, read);
    return value === undefined ? [] : [value];
  });
}

/** A mapping of names to a target, or to a list of them. */
function readServices(reader: Reader, node: Node): Service[] {
  if (!isMap(node)) {
    reader.error(node, "services: a mapping of names is expected");
    return [];
  }
  return (node as YAMLMap<Node, Node | null>).items.flatMap(({ key, value }) => {
    const name = reader.scalar(key, "services", readHostName);
    const path = `services.${name ?? "?"}`;
    const targets = isSeq(value) ? value.items as Node[] : [value];
    const read = targets.flatMap((target) => reader.scalar(target, path, readTarget) ?? []);
    return name === undefined ? [] : [{ name, targets: read }];
  });
}

function readVms(reader: Reader, node: Node): VmConfig[] {
  const names = new Map<string, number>();
  return reader.items(node, "vms").flatMap((item, i) => {
    const path = `vms[${i}]`;
    const f = reader.fields(item, path, ["name", "socket", "address", "address6"]);
    if (!f.name) reader.error(item, `${path}.name: is missing`);
    if (!f.socket) reader.error(item, `${path}.socket: is missing`);
    const name = f.name && reader.scalar(f.name, `${path}.name`, readName);
    const socket = f.socket && reader.scalar(f.socket, `${path}.socket`, readSocketPath);
    const address = f.address && reader.scalar(f.address, `${path}.address`, (text) => readAddress(text, 4));
    const address6 = f.address6 && reader.scalar(f.address6, `${path}.address6`, (text) => readAddress(text, 6));
    if (name !== undefined && names.has(name)) {
      reader.error(f.name, `${path}.name: "${name}" is vms[${names.get(name)}] already`);
    }
    if (name === undefined || socket === undefined) return [];
    names.set(name, i);
    return [{ name, socket, address, address6 }];
  });
}
