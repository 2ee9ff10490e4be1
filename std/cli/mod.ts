// deno-lint-ignore-file
import * as std from "npm:deno-std@1.4.0/cli/parse_args.js";

/** What `parseArgs` is told about a command line. */
export interface ParseOptions {
  boolean?: readonly string[];
  string?: readonly string[];
  collect?: readonly string[];
  negatable?: readonly string[];
  alias?: Record<string, string | readonly string[]>;
  default?: Record<string, unknown>;
  stopEarly?: boolean;
  "--"?: boolean;
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}
/** Parsed flags by name, and the rest under `_`. */
export type Args = { _: (string | number)[]; "--"?: string[] } & Record<string, any>;

export const parseArgs: (args: readonly string[], options?: ParseOptions) => Args = std.parseArgs;
