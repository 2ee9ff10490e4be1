/**
 * The command line of `policy …`.
 *
 * @module
 */

import { type Config, ConfigError } from "./config.ts";

/** Where an answer comes from: a running switch, or what is configured. */
export type Asked =
  | { readonly api: string }
  | { readonly api?: undefined; readonly config: Config; readonly file: string | undefined };

/** What is to be done with policies. */
export type PolicyCommand =
  | { readonly name: "policy check"; readonly paths: readonly string[] }
  | { readonly name: "policy test"; readonly files: readonly string[] }
  | {
    readonly name: "policy explain";
    readonly from: string;
    readonly to: string;
    readonly asked: Asked;
    readonly json: boolean;
  }
  | {
    readonly name: "policy diff";
    /** undefined: those of the running switch. */
    readonly before: string | undefined;
    readonly after: string;
    readonly asked: Asked;
    readonly json: boolean;
  }
  | { readonly name: "policy show"; readonly api: string; readonly json: boolean }
  | { readonly name: "policy reload"; readonly api: string };

/** What the options say that these commands have. */
export interface PolicyOptionValues {
  readonly api?: string | undefined;
  readonly config?: string | undefined;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly json?: boolean | undefined;
}

const commands = ["check", "explain", "diff", "test", "show", "reload"];

/**
 * Read the words and options behind `policy`.
 *
 * @param readConfig Reads the options that say what is configured.
 * @throws {ConfigError}
 */
export function readPolicyCommand(
  [command, ...words]: readonly string[],
  options: PolicyOptionValues,
  readConfig: () => Config,
): PolicyCommand {
  const json = options.json ?? false;
  const expect = (counts: readonly number[], what: string): void => {
    if (!counts.includes(words.length)) throw new ConfigError(`policy ${command} needs ${what}; see --help`);
  };
  const api = (): string => {
    if (options.api === undefined) {
      throw new ConfigError(`policy ${command} needs --api PATH, as the switch was given it`);
    }
    return options.api;
  };
  const asked = (): Asked =>
    options.api === undefined ? { config: readConfig(), file: options.config } : { api: options.api };
  switch (command) {
    case "check":
      if (words.length === 0) throw new ConfigError("policy check needs files or directories; see --help");
      return { name: "policy check", paths: words };
    case "test":
      if (words.length === 0) throw new ConfigError("policy test needs files of cases; see --help");
      return { name: "policy test", files: words };
    case "explain":
      expect([0], "no further word");
      if (options.from === undefined || options.to === undefined) {
        throw new ConfigError("policy explain needs --from and --to, such as --from web --to db:5432/tcp");
      }
      return { name: "policy explain", from: options.from, to: options.to, asked: asked(), json };
    case "diff":
      expect(options.api === undefined ? [2] : [1], "two paths, OLD and NEW, or NEW and --api PATH");
      return {
        name: "policy diff",
        before: options.api === undefined ? words[0] : undefined,
        after: words.at(-1)!,
        asked: asked(),
        json,
      };
    case "show":
      expect([0], "no further word");
      return { name: "policy show", api: api(), json };
    case "reload":
      expect([0], "no further word");
      return { name: "policy reload", api: api() };
    default:
      throw new ConfigError(
        command === undefined
          ? `policy needs one of ${commands.join(", ")}; see --help`
          : `unknown command "policy ${command}"; known are ${commands.join(", ")}`,
      );
  }
}
