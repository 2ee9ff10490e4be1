/**
 * The program: what `deno run -A mod.ts …` does.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- this is the program's own output

import { getLogger } from "@logtape/logtape";
import { DirectoryError } from "../circuit/directory.ts";
import { HELP, parseCommandLine } from "../config/command_line.ts";
import { checkResources, type Config, ConfigError, mergeConfig, NOTHING, policyOptions } from "../config/config.ts";
import { parseConfigFile } from "../config/file.ts";
import { SystemError } from "../errno.ts";
import { LibraryError } from "../ffi/library.ts";
import { Switch, type SwitchStatus } from "../host/switch.ts";
import { CaseError } from "../policy/cases.ts";
import { PolicyError } from "../policy/files.ts";
import { QuestionError } from "../policy/question.ts";
import { ApiError, ask, formatStatus, serveApi } from "./api.ts";
import { setUpLog } from "./log.ts";
import { policy } from "./policy.ts";
import { VERSION } from "./version.ts";

const USAGE = 2;
const FAILURE = 1;

/**
 * Run the program.
 *
 * @returns The exit code: 0, 1 for a failure, 2 for a wrong command line or configuration.
 */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const command = parseCommandLine(args);
    switch (command.name) {
      case "help":
        console.log(HELP);
        return 0;
      case "version":
        console.log(`csvn ${VERSION}`);
        return 0;
      case "status":
        return await printStatus(command.api, command.json);
      case "run":
        await run(mergeConfig(await readFile(command.file), command.config));
        return 0;
      default:
        return await policy(command, async (config, file) => mergeConfig(await readFile(file), config));
    }
  } catch (error) {
    return report(error);
  }
}

/** One clear line for every foreseen error; anything else is a bug, and shown as one. */
function report(error: unknown): number {
  if ([ConfigError, DirectoryError, PolicyError, QuestionError, CaseError].some((kind) => error instanceof kind)) {
    for (const line of (error as Error).message.split("\n")) console.error(`csvn: ${line}`);
    return USAGE;
  }
  if (error instanceof SystemError) {
    console.error(`csvn: ${error.message}${advice(error)}`);
    return FAILURE;
  }
  if (error instanceof LibraryError || error instanceof ApiError) {
    console.error(`csvn: ${error.message}`);
    return FAILURE;
  }
  if (error instanceof Deno.errors.NotCapable) {
    console.error(`csvn: Deno does not permit it: ${error.message}`);
    return FAILURE;
  }
  console.error("csvn: internal error, please report it:", error);
  return FAILURE;
}

function advice(error: SystemError): string {
  switch (error.code) {
    case "EADDRINUSE":
      return ": another process listens there, or a file that is no socket is in the way";
    case "ENOENT":
      return ": its directory does not exist";
    case "EACCES":
    case "EPERM":
      return ": no permission";
    default:
      return "";
  }
}

async function readFile(file: string | undefined): Promise<Config> {
  if (file === undefined) return NOTHING;
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound
      ? "there is no such file"
      : error instanceof Deno.errors.PermissionDenied
      ? "no permission"
      : (error as Error).message;
    throw new ConfigError(`cannot read the configuration ${file}: ${why}`);
  }
  return parseConfigFile(file, text);
}

async function printStatus(path: string, json: boolean): Promise<number> {
  const status = await ask<SwitchStatus>(path, "/v1/status");
  console.log(json ? JSON.stringify(status, null, 2) : formatStatus(status).trimEnd());
  return 0;
}

async function run(config: Config): Promise<void> {
  if (config.sockets.length + config.vms.length === 0) {
    throw new ConfigError(
      "no socket to listen on: give --socket PATH, --vm name=…,socket=… or --config FILE; see --help",
    );
  }
  checkResources(config);
  await setUpLog(config.logLevel ?? "info", config.logFormat ?? "text");
  // A bug of ours is to be seen, but not to cut everybody's connections.
  const report = (event: Event, error: unknown): void => {
    event.preventDefault();
    getLogger(["csvn"]).error("a bug of csvn's: {error}", { error });
  };
  globalThis.addEventListener("unhandledrejection", (event) => report(event, event.reason));
  globalThis.addEventListener("error", (event) => report(event, event.error));
  const { ringBytes, windowBytes, network4, network6, socketMode } = config;
  await using csvn = await Switch.start({
    portsStay: true,
    sockets: config.sockets,
    vms: config.vms,
    policy: policyOptions(config),
    auditLog: config.auditLog,
    limits: { ...(ringBytes && { ringBytes }), ...(windowBytes && { windowBytes }) },
    allowHost: config.allowHost,
    forbid: config.forbid,
    publish: config.publish,
    resolvers: config.resolvers.length > 0 ? config.resolvers : undefined,
    learnedSeconds: config.learnedSeconds,
    cgroup: config.cgroup,
    services: new Map(config.services.map(({ name, targets }) => [name, targets])),
    ...(config.outside !== undefined && { outside: config.outside }),
    ...(network4 && { network4 }),
    ...(network6 && { network6 }),
    ...(socketMode !== undefined && { socketMode }),
  });
  Deno.addSignalListener("SIGHUP", () => void hangUp(csvn));
  await using _api = config.api === undefined ? undefined : await serveApi(config.api, csvn);
  await stopSignal();
}

/** What SIGHUP asks for: files are read again, and written anew. */
async function hangUp(csvn: Switch): Promise<void> {
  try {
    csvn.reopenAuditLog();
    await csvn.policy.reload("SIGHUP");
  } catch (error) {
    getLogger(["csvn"]).error("SIGHUP: {error}", { error: (error as Error).message });
  }
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the program at once. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    const stop = (): void => {
      if (stopping) Deno.exit(FAILURE);
      stopping = true;
      resolve();
    };
    Deno.addSignalListener("SIGINT", stop);
    Deno.addSignalListener("SIGTERM", stop);
  });
}
