/**
 * The switch's configuration, as the command line and the configuration file say it.
 *
 * @module
 */

import type {
  Namespaces,
  OnChange,
  OnDeny,
  PolicyOptions,
  Publication,
  SharedSocket,
  VmConfig,
} from "../host/switch.ts";
import type { Action } from "../policy/model.ts";

import type { Address, Endpoint, Network } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";

/** What is configured. Nothing is undefined because it is wrong, only because it was not said. */
export interface Config {
  readonly sockets: readonly SharedSocket[];
  readonly vms: readonly VmConfig[];
  /** `allow` or `deny`, or files and directories of policies. */
  readonly policy: readonly string[];
  /** What becomes of VMs that no policy selects. */
  readonly defaultAction?: Action | undefined;
  readonly onDeny?: OnDeny | undefined;
  readonly onChange?: OnChange | undefined;
  /** Are denials only logged? */
  readonly audit?: boolean | undefined;
  /** Path of the audit log. */
  readonly auditLog?: string | undefined;
  /** Labels of namespaces. */
  readonly namespaces: Namespaces;
  readonly network4?: Network | undefined;
  readonly network6?: Network | undefined;
  readonly socketMode?: number | undefined;
  /** Bytes of each ring. */
  readonly ringBytes?: number | undefined;
  /** Bytes of a VM's window. */
  readonly windowBytes?: number | undefined;
  /** May VMs reach what is no VM? */
  readonly outside?: boolean | undefined;
  /** Ports of the host that VMs may reach. */
  readonly allowHost: readonly Endpoint[];
  /** Addresses that VMs must not reach by the host's stack. */
  readonly forbid: readonly Cidr[];
  /** Ports of the host's network that lead to VMs. */
  readonly publish: readonly Publication[];
  /** Resolvers that names which are not the switch's are asked of; default: the host's. */
  readonly resolvers: readonly Endpoint[];
  /** Seconds for which a VM may connect by a name to the address that it was told, at least. */
  readonly learnedSeconds?: number | undefined;
  /** Names that lead to VMs (by name) or to addresses. */
  readonly services: readonly Service[];
  /** Path of the status socket. */
  readonly api?: string | undefined;
  /** Path of a control group for ports. */
  readonly cgroup?: string | undefined;
  readonly logLevel?: LogLevel | undefined;
  readonly logFormat?: "text" | "json" | undefined;
}

/** A name that the switch answers, and what it leads to. */
export interface Service {
  readonly name: string;
  /** VMs by name, or addresses. */
  readonly targets: readonly (string | Address)[];
}

/** A configuration in which nothing is said. */
export const NOTHING: Config = {
  sockets: [],
  vms: [],
  policy: [],
  namespaces: new Map(),
  allowHost: [],
  forbid: [],
  publish: [],
  resolvers: [],
  services: [],
};

/** Levels of the log, from talkative to terse. */
export const logLevels = ["debug", "info", "warning", "error"] as const;
/** One of {@linkcode logLevels}. */
export type LogLevel = typeof logLevels[number];

/** Something in a configuration is wrong; the message says what, and what would be right. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** Two configurations as one: what the second says wins, lists are joined. */
export function mergeConfig(first: Config, second: Config): Config {
  const said = Object.fromEntries(Object.entries(second).filter(([, value]) => value !== undefined));
  return {
    ...first,
    ...said,
    sockets: [...first.sockets, ...second.sockets],
    vms: [...first.vms, ...second.vms],
    policy: second.policy.length > 0 ? second.policy : first.policy,
    namespaces: new Map([...first.namespaces, ...second.namespaces]),
    allowHost: [...first.allowHost, ...second.allowHost],
    forbid: [...first.forbid, ...second.forbid],
    publish: [...first.publish, ...second.publish],
    resolvers: [...first.resolvers, ...second.resolvers],
    services: [...first.services, ...second.services],
  };
}

/** What a configuration says of policies. @throws {ConfigError} when that contradicts itself. */
export function policyOptions(config: Config): PolicyOptions {
  const { policy, defaultAction, onDeny, onChange, audit, namespaces } = config;
  const word = (["allow", "deny"] as const).find((word) => policy.includes(word));
  if (word && policy.length > 1) {
    throw new ConfigError(`policy: ${word} stands alone; with policy files, say what becomes of the rest by default`);
  }
  if (word && defaultAction) throw new ConfigError(`policy: ${word} leaves nothing to a default`);
  return {
    paths: word ? [] : policy,
    default: word ?? defaultAction,
    onDeny,
    onChange,
    audit,
    namespaces,
  };
}

/** What VMs may have of the host takes a control group. @throws {ConfigError} */
export function checkResources({ cgroup, sockets, vms }: Config): void {
  if (cgroup !== undefined) return;
  for (const [what, all] of [["sockets", sockets], ["vms", vms]] as const) {
    for (const [i, given] of all.entries()) {
      const name = (["cpuWeight", "memoryMax", "cpus"] as const).find((name) => given[name] !== undefined);
      if (name) {
        throw new ConfigError(`${what}[${i}].${name}: takes a control group: say which by "cgroup", or by --cgroup`);
      }
    }
  }
}
