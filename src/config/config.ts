/**
 * The switch's configuration, as the command line and the configuration file say it.
 *
 * @module
 */

import type { VmConfig } from "../host/switch.ts";
import type { Network } from "../net/address.ts";

/** What is configured. Nothing is undefined because it is wrong, only because it was not said. */
export interface Config {
  readonly sockets: readonly string[];
  readonly vms: readonly VmConfig[];
  readonly policy?: "allow" | "deny" | undefined;
  readonly network4?: Network | undefined;
  readonly network6?: Network | undefined;
  readonly socketMode?: number | undefined;
  /** Bytes of each ring. */
  readonly ringBytes?: number | undefined;
  /** Bytes of a VM's window. */
  readonly windowBytes?: number | undefined;
  /** Path of the status socket. */
  readonly api?: string | undefined;
  readonly logLevel?: LogLevel | undefined;
  readonly logFormat?: "text" | "json" | undefined;
}

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
  };
}
