/** The command line of `deno task vm`. */
import { parseArgs } from "@std/cli";
import type { GuestOptions } from "./guest.ts";
import { isKernelName, KERNELS } from "./kernel.ts";

/** What the command line asks for. */
export interface VmOptions {
  /** Only show the usage. */
  help: boolean;
  /** Command to run; an interactive shell if there is none. */
  exec?: string;
  /** The guest. */
  guest: GuestOptions;
}

/** A command line that makes no sense; the message is one line. */
export class UsageError extends Error {
  /** Tells it from other errors. */
  override name = "UsageError";
}

/** Text of `--help`. */
export const USAGE = `Boot a guest, on a switch or without network.

Usage: deno task vm [options]

  --socket PATH       the switch's vhost-user socket (without: no network)
  --exec COMMAND      run COMMAND by bash and exit with its status;
                      without it, an interactive shell on this terminal
  --copy DIR          put a copy of DIR at /mnt
  --packages A,B      Debian packages to have besides the usual
  --name NAME         host name, if the switch gives none       [guest]
  --memory MIB        memory in MiB                             [512]
  --cpus N            processors                                [2]
  --kernel VERSION    ${KERNELS.join(", ").padEnd(42)}[6.12]
  --module-args ARGS  parameters for csvn.ko, such as "a=1 b=2"
  --log FILE          add console and QEMU messages to FILE
  --help              this text

In every guest: curl, nginx, python3, socat, iperf3, redis.
The guest starts fresh each time, and is gone afterwards.
A command that a signal ends gives status 128 + signal; an error of the
testbed itself gives 1, a wrong command line 2.
`;

const VALUED = [
  "socket",
  "exec",
  "copy",
  "packages",
  "name",
  "memory",
  "cpus",
  "kernel",
  "module-args",
  "log",
] as const;

function numberIn(
  option: string,
  text: string,
  low: number,
  high: number,
): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(value >= low && value <= high)) {
    throw new UsageError(
      `--${option} takes a number from ${low} to ${high}, not "${text}"`,
    );
  }
  return value;
}

/** Understand a command line; {@link UsageError} if that is not possible. */
export function parseVmOptions(args: readonly string[]): VmOptions {
  const parsed = parseArgs(args, {
    string: VALUED,
    boolean: ["help"],
    collect: VALUED,
    alias: { h: "help" },
    unknown: (arg) => {
      throw new UsageError(
        arg.startsWith("-")
          ? `unknown option ${arg.replace(/=.*/s, "")}; try --help`
          : `"${arg}" belongs to no option; a command goes into --exec '...'`,
      );
    },
  });
  const given: Partial<Record<typeof VALUED[number], string>> = {};
  for (const option of VALUED) {
    const values = (parsed[option] ?? []) as string[];
    if (values.length > 1) {
      throw new UsageError(`--${option} is given ${values.length} times`);
    }
    const value = values[0];
    if (value === undefined) continue;
    if (value === "") throw new UsageError(`--${option} needs a value`);
    given[option] = value;
  }
  const guest: GuestOptions = {};
  const { socket, name, copy, log, kernel, packages } = given;
  if (socket !== undefined) guest.socket = socket;
  if (copy !== undefined) guest.copy = copy;
  if (log !== undefined) guest.logFile = log;
  if (given["module-args"] !== undefined) {
    guest.moduleArgs = given["module-args"];
  }
  if (name !== undefined) {
    if (!/^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(name)) {
      throw new UsageError(
        `--name takes letters, digits and dashes (63 at most), not "${name}"`,
      );
    }
    guest.name = name;
  }
  if (packages !== undefined) {
    guest.packages = packages.split(",").map((word) => word.trim())
      .filter((word) => word !== "");
    for (const word of guest.packages) {
      if (!/^[a-z0-9][a-z0-9+.-]+$/.test(word)) {
        throw new UsageError(`--packages: "${word}" is no package's name`);
      }
    }
  }
  if (given.memory !== undefined) {
    guest.memoryMiB = numberIn("memory", given.memory, 128, 1024 * 1024);
  }
  if (given.cpus !== undefined) {
    guest.cpus = numberIn("cpus", given.cpus, 1, 255);
  }
  if (kernel !== undefined) {
    if (!isKernelName(kernel)) {
      throw new UsageError(
        `--kernel takes one of ${KERNELS.join(", ")}, not "${kernel}"`,
      );
    }
    guest.kernel = kernel;
  }
  const options: VmOptions = { help: parsed["help"] === true, guest };
  if (given.exec !== undefined) options.exec = given.exec;
  return options;
}
