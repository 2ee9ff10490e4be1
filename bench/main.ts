/**
 * `deno task bench [native|pump|setup|scale|guests|all] [--quick] [--json FILE] [--repeat N] [--networks NAMES]`: csvn beside what it is compared with, in one run,
 * in turns; medians, spread and ratios.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program's own output

import { parseArgs } from "@std/cli";
import { dirname, fromFileUrl, join } from "@std/path";
import config from "../deno.json" with { type: "json" };
import { GuestError } from "../tools/testbed/guest.ts";
import { BUILD_TOOLS, ensureHostTools } from "../tools/testbed/host.ts";
import { stderrProgress } from "../tools/testbed/progress.ts";
import { collect, type Figure, type Series } from "./figures.ts";
import { BenchFailure } from "./guests/host.ts";
import { guestVersions, measureGuests, networkNames } from "./guests/measure.ts";
import { formatFigures, formatTargets } from "./table.ts";
import { targets } from "./targets.ts";

const lib = join(dirname(dirname(fromFileUrl(import.meta.url))), "lib");

/** A result file. */
export interface Results {
  readonly machine: Readonly<Record<string, string | number>>;
  /** How often each part was measured. */
  readonly repeats: Readonly<Record<string, number>>;
  readonly quick: boolean;
  readonly series: readonly Series[];
}

const HELP = `Usage: deno task bench [native|pump|setup|scale|guests|all] [options]

  native   the ring between two processes, beside AF_UNIX, loopback TCP, a pipe
  pump     circuits to the host's stack, beside loopback TCP
  setup    connections per second through the switch, beside loopback TCP
  scale    2, 8 and 32 VMs at once, and 1,000 that do nothing
  guests   two QEMU guests, and a guest with its host: circuits, beside tap and bridge, passt, QEMU's stream netdev and
           vsock, and beside lo in one guest (about 7 minutes for each repeat)
  all      all of them (default)

Options:
  --quick       a sixteenth of the work: to see that it runs, not to believe in
  --repeat N    repeats, in turns (default 7, of guests 3; with --quick 3 and 1)
  --networks A,B,…
                of guests, only these: ${networkNames().join(", ")}
  --json FILE   write the figures to a file
`;

/** One repeat of a C program that prints a line of JSON for each figure. */
async function* program(part: string, name: string, quick: boolean, args: string[] = []): AsyncIterable<Figure> {
  const { success, stdout, stderr } = await new Deno.Command(join(lib, "build", name), {
    args: [...quick ? ["--quick"] : [], ...args],
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder();
  if (!success) throw new BenchError(`${name} failed: ${text.decode(stderr)}`);
  for (const line of text.decode(stdout).trimEnd().split("\n")) yield { part, ...JSON.parse(line) };
}

const parts: Readonly<Record<string, (quick: boolean, networks: readonly string[]) => AsyncIterable<Figure>>> = {
  native: (quick) => program("native", "native_bench", quick),
  pump: (quick) => program("pump", "pump_bench", quick),
  setup: async function* (quick): AsyncIterable<Figure> {
    // It opens a library that is built by then.
    const { measureSetup } = await import("./setup.ts");
    yield* measureSetup(quick);
  },
  scale: async function* (quick): AsyncIterable<Figure> {
    const { measureScale } = await import("./scale.ts");
    yield* measureScale(quick, (vms) => program("scale", "pump_bench", quick, ["--vms", String(vms)]));
  },
  guests: (quick, networks) => measureGuests(quick ? 1 : 3, networks),
};

class BenchError extends Error {}

async function machine(guests: boolean): Promise<Results["machine"]> {
  const cpu = /^model name\s*:\s*(.*)$/m.exec(await Deno.readTextFile("/proc/cpuinfo"))?.[1] ?? "unknown";
  const gcc = new TextDecoder().decode((await new Deno.Command("cc", { args: ["--version"] }).output()).stdout);
  const compiler = gcc.split("\n")[0]!;
  const kernel = Deno.osRelease();
  return {
    cpu,
    cores: navigator.hardwareConcurrency,
    kernel,
    compiler,
    deno: Deno.version.deno,
    csvn: config.version,
    ...(guests && await guestVersions()),
  };
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    boolean: ["quick", "help"],
    string: ["json", "repeat", "networks"],
    unknown: (arg, key) => {
      if (key !== undefined) throw new BenchError(`unknown option ${arg}\n\n${HELP}`);
      return true;
    },
  });
  if (args.help) return console.log(HELP);
  const words = args._.map(String);
  const wanted = words.length === 0 || words.includes("all") ? Object.keys(parts) : words;
  const unknown = wanted.find((part) => !Object.hasOwn(parts, part));
  if (unknown !== undefined) throw new BenchError(`"${unknown}" is no part\n\n${HELP}`);
  const repeats = (part: string): number => {
    if (args.repeat !== undefined) return Number(args.repeat);
    return part === "guests" ? args.quick ? 1 : 3 : args.quick ? 3 : 7;
  };
  const repeat = Math.max(...wanted.map(repeats));
  if (!(Number.isInteger(repeat) && repeat > 0 && repeat <= 1000)) {
    throw new BenchError("--repeat needs a number from 1 to 1000");
  }
  const networks: string[] = args.networks?.split(",") ?? networkNames();
  const stranger = networks.find((name) => !networkNames().includes(name));
  if (stranger !== undefined) throw new BenchError(`"${stranger}" is no network: ${networkNames().join(", ")}`);
  await ensureHostTools(BUILD_TOOLS, stderrProgress);
  const { success } = await new Deno.Command("make", { args: ["-s", "-C", lib, "bench"] }).spawn().status;
  if (!success) throw new BenchError("building the benchmarks failed");
  const figures: Figure[] = [];
  // Whole repeats in turns: what else the machine does meanwhile meets all of them.
  for (let i = 0; i < repeat; i++) {
    for (const part of wanted.filter((part) => i < repeats(part))) {
      console.error(`repeat ${i + 1} of ${repeats(part)}: ${part}`);
      for await (const figure of parts[part]!(args.quick, networks)) figures.push(figure);
    }
  }
  const series = collect(figures);
  const results: Results = {
    machine: await machine(wanted.includes("guests")),
    repeats: Object.fromEntries(wanted.map((part) => [part, repeats(part)])),
    quick: args.quick,
    series,
  };
  console.log(Object.entries(results.machine).map(([name, value]) => `${name}: ${value}`).join("\n"));
  console.log(
    `medians of ${
      wanted.map((part) => `${repeats(part)} repeats of ${part}`).join(", ")
    }, with the least and the most; "2 x TCP" is twice as good${args.quick ? "; --quick: not to believe in" : ""}`,
  );
  console.log(formatFigures(series));
  console.log(formatTargets(targets, series));
  if (args.json !== undefined) await Deno.writeTextFile(args.json, JSON.stringify(results, null, 1) + "\n");
}

try {
  await main();
} catch (error) {
  if (!(error instanceof BenchError || error instanceof BenchFailure || error instanceof GuestError)) throw error;
  console.error(`bench: ${error.message}`);
  Deno.exit(2);
}
