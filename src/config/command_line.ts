/**
 * The command line of the switch.
 *
 * @module
 */

import { type Args, parseArgs } from "@std/cli";
import type { VmConfig } from "../host/switch.ts";
import { type Config, ConfigError } from "./config.ts";
import { type PolicyCommand, type PolicyOptionValues, readPolicyCommand } from "./policy_command_line.ts";
import {
  readAction,
  readAddress,
  readCidr,
  readEndpoint,
  readLabel,
  readLogFormat,
  readLogLevel,
  readMode,
  readName,
  readNamedPort,
  readNamespace,
  readNetwork,
  readOnChange,
  readOnDeny,
  readPath,
  readPublication,
  readRingSize,
  readSeconds,
  readService,
  readSocketPath,
  readWindowSize,
} from "./values.ts";

/** What the program was asked to do. */
export type Command =
  | { readonly name: "run"; readonly config: Config; readonly file: string | undefined }
  | { readonly name: "status"; readonly api: string; readonly json: boolean }
  | PolicyCommand
  | { readonly name: "help" }
  | { readonly name: "version" };

/** The help text. */
export const HELP = `csvn: a circuit-switched network for the VMs of one host

Usage:
  deno run -A mod.ts --socket PATH [options]     run a switch
  deno run -A mod.ts status --api PATH [--json]  print what a running switch holds
  deno run -A mod.ts policy check PATH...        find all errors in policies
  deno run -A mod.ts policy explain --from web --to db:5432/tcp [options]
                                                 why a connection is allowed or denied
  deno run -A mod.ts policy diff OLD NEW [options]
                                                 what a change of policies would change
                                                 (exit code 1 when it is something)
  deno run -A mod.ts policy test CASES.json...   check policies against expectations
  deno run -A mod.ts policy show --api PATH      the policies of a running switch
  deno run -A mod.ts policy reload --api PATH    have it read its policies again
  (explain, and diff NEW, ask a running switch with --api PATH; else they need the
  VMs, by --config FILE or --vm; --json for machines)

Options:
  --socket PATH       unix socket for any number of VMs, each given the next free
                      name and address (repeatable)
  --vm SPEC           a VM with a socket of its own (repeatable), such as
                      name=web,socket=/run/csvn/web.sock,address=10.77.0.10
                      fields: name, socket, address, address6, namespace,
                      label=KEY=VALUE and port=NAME:PORT[/udp] (both repeatable)
  --config FILE       the same and more in YAML; see docs/configuration.md
  --policy PATH       a policy file, or a directory of them (repeatable); or a word:
                      allow: everybody may connect (default); deny: nobody may
  --default WORD      what becomes of VMs that no policy selects: allow (default,
                      as in Kubernetes) or deny
  --on-deny WORD      what a denied attempt comes to in the guest: refuse (default),
                      unreachable, prohibit or drop
  --on-change WORD    what becomes of circuits that a changed policy forbids: cut
                      (default) or keep
  --audit             denials are only logged
  --audit-log PATH    a JSON line for every connection and its verdict
  --network CIDR      IPv4 network of the VMs (default 10.77.0.0/16)
  --network6 CIDR     IPv6 network of the VMs (default fd77:6373:766e::/64)
  --publish SPEC      a port of the host's network that leads to a VM (repeatable):
                      [host-address:]port=vm:port[/udp], such as 8080=web:80
  --allow-host ADDRESS:PORT
                      a port of the host that VMs may reach, also as host.csvn (repeatable)
  --forbid CIDR       addresses that VMs must not reach by the host's stack (repeatable);
                      the host's loopback, link-local and clouds' metadata they never
                      do, its other addresses they do where they are not forbidden
  --no-outside        VMs reach each other and what is opened to them, nothing else
  --resolver ADDRESS[:PORT]
                      ask this one for names that are not the switch's (repeatable;
                      default: the host's resolvers)
  --learned-names SECONDS
                      how long a VM may connect by a name to the address that it was
                      told, at least (default 1; longer when the answer says so)
  --service NAME=VM   a name that leads to VMs or addresses, with commas (repeatable)
  --socket-mode MODE  permission bits of the sockets (default 0600)
  --ring-size SIZE    bytes of each ring, 16KiB to 16MiB (default 256KiB)
  --window-size SIZE  address space of each VM for circuits, 256MiB to 256GiB (default 16GiB)
  --api PATH          unix socket on which the switch tells its status over HTTP
  --cgroup PATH       a control group (version 2) in which each VM's port gets one of its own
  --log-level LEVEL   debug (each connection too), info (default), warning or error
  --log-format WORD   text (default) or json
  --help, --version
`;

const DNS_PORT = 53;

const strings = [
  "socket",
  "vm",
  "config",
  "policy",
  "default",
  "on-deny",
  "on-change",
  "audit-log",
  "from",
  "to",
  "network",
  "network6",
  "socket-mode",
  "ring-size",
  "window-size",
  "publish",
  "allow-host",
  "forbid",
  "resolver",
  "learned-names",
  "service",
  "api",
  "cgroup",
  "log-level",
  "log-format",
] as const;
const repeatable = ["socket", "vm", "policy", "publish", "allow-host", "forbid", "resolver", "service"] as const;

/**
 * Read the command line.
 *
 * @throws {ConfigError}
 *
 * @example
 * ```ts
 * import { parseCommandLine } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 * const command = parseCommandLine(["--socket", "/run/csvn.sock"]);
 * assertEquals(command.name === "run" && command.config.sockets, [{ path: "/run/csvn.sock" }]);
 * ```
 */
export function parseCommandLine(args: readonly string[]): Command {
  const parsed = parseArgs(args, {
    string: strings,
    boolean: ["help", "version", "json", "no-outside", "audit"],
    collect: repeatable,
    alias: { h: "help" },
    unknown: (arg, key) => {
      if (key === undefined) return true;
      throw new ConfigError(`unknown option ${arg}; see --help`);
    },
  });
  checkRepeats(args);
  if (parsed.help) return { name: "help" };
  if (parsed.version) return { name: "version" };
  for (const name of strings) {
    for (const value of [parsed[name] ?? []].flat()) {
      if (value === "") throw new ConfigError(`--${name} needs a value`);
    }
  }
  const [command, ...rest] = parsed._.map(String);
  if (command === "policy") return readPolicyCommand(rest, parsed as PolicyOptionValues, () => readRun(parsed));
  for (const name of ["from", "to"] as const) {
    if (parsed[name] !== undefined) throw new ConfigError(`--${name} goes with policy explain`);
  }
  if (rest.length > 0) throw new ConfigError(`unexpected argument "${rest[0]}"; see --help`);
  if (command === "status") return readStatus(parsed);
  if (command !== undefined) throw new ConfigError(`unknown command "${command}"; see --help`);
  if (parsed.json) throw new ConfigError("--json goes with the command status");
  return { name: "run", config: readRun(parsed), file: parsed.config };
}

/** An option that is said twice is a mistake, unless it may be. */
function checkRepeats(args: readonly string[]): void {
  for (const name of strings) {
    const count = args.filter((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`)).length;
    if (count > 1 && !repeatable.some((other) => other === name)) throw new ConfigError(`--${name} is given twice`);
  }
}

function readStatus(parsed: Args): Command {
  if (parsed.api === undefined) throw new ConfigError("status needs --api PATH, as the switch was given it");
  return { name: "status", api: option("api", parsed.api, readSocketPath)!, json: Boolean(parsed.json) };
}

function readRun(parsed: Args): Config {
  const vms: VmConfig[] = parsed.vm.map(readVm);
  const repeated = vms.find((vm, i) => vms.findIndex((other) => other.name === vm.name) !== i);
  if (repeated) throw new ConfigError(`--vm: two VMs are named "${repeated.name}"`);
  return {
    sockets: parsed.socket.map((text: string) => ({ path: option("socket", text, readSocketPath) })),
    vms,
    policy: parsed.policy.map((text: string) => option("policy", text, readPath)),
    defaultAction: option("default", parsed.default, readAction),
    onDeny: option("on-deny", parsed["on-deny"], readOnDeny),
    onChange: option("on-change", parsed["on-change"], readOnChange),
    audit: parsed.audit ? true : undefined,
    auditLog: option("audit-log", parsed["audit-log"], readPath),
    namespaces: new Map(),
    network4: option("network", parsed.network, (text) => readNetwork(text, 4)),
    network6: option("network6", parsed.network6, (text) => readNetwork(text, 6)),
    socketMode: option("socket-mode", parsed["socket-mode"], readMode),
    ringBytes: option("ring-size", parsed["ring-size"], readRingSize),
    windowBytes: option("window-size", parsed["window-size"], readWindowSize),
    outside: parsed["no-outside"] ? false : undefined,
    publish: parsed.publish.flatMap((text: string) => option("publish", text, readPublication)),
    allowHost: parsed["allow-host"].map((text: string) => option("allow-host", text, readEndpoint)),
    forbid: parsed.forbid.map((text: string) => option("forbid", text, readCidr)),
    learnedSeconds: option("learned-names", parsed["learned-names"], readSeconds),
    resolvers: parsed.resolver.map((text: string) => option("resolver", text, (t) => readEndpoint(t, DNS_PORT))),
    services: parsed.service.map((text: string) => option("service", text, readService)),
    api: option("api", parsed.api, readSocketPath),
    cgroup: option("cgroup", parsed.cgroup, readPath),
    logLevel: option("log-level", parsed["log-level"], readLogLevel),
    logFormat: option("log-format", parsed["log-format"], readLogFormat),
  };
}

function option<T>(name: string, text: string | undefined, read: (text: string) => T): T | undefined {
  if (text === undefined) return undefined;
  try {
    return read(text);
  } catch (error) {
    if (error instanceof ConfigError) throw new ConfigError(`--${name}: ${error.message}`);
    throw error;
  }
}

const vmFields = ["name", "socket", "address", "address6", "namespace", "label", "port"];
const vmLists = ["label", "port"];

function readVm(spec: string): VmConfig {
  const fields = new Map<string, string[]>();
  for (const part of spec.split(",")) {
    const [key, ...value] = part.split("=");
    if (!key || !vmFields.includes(key)) {
      throw new ConfigError(`--vm ${spec}: "${part}" is not one of ${vmFields.map((name) => `${name}=…`).join(", ")}`);
    }
    const known = fields.get(key) ?? [];
    if (known.length > 0 && !vmLists.includes(key)) throw new ConfigError(`--vm ${spec}: ${key} is given twice`);
    fields.set(key, [...known, value.join("=")]);
  }
  for (const key of ["name", "socket"]) {
    if (!fields.get(key)?.[0]) throw new ConfigError(`--vm ${spec}: ${key}=… is missing`);
  }
  const where = `vm ${spec}`;
  const one = <T>(key: string, read: (text: string) => T): T | undefined => option(where, fields.get(key)?.[0], read);
  const many = <T>(key: string, read: (text: string) => T): T[] =>
    (fields.get(key) ?? []).map((text) => option(where, text, read)!);
  return {
    name: one("name", readName)!,
    socket: one("socket", readSocketPath)!,
    address: one("address", (text) => readAddress(text, 4)),
    address6: one("address6", (text) => readAddress(text, 6)),
    namespace: one("namespace", readNamespace),
    labels: Object.fromEntries(many("label", readLabel)),
    ports: many("port", readNamedPort),
  };
}
