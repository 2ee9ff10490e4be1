/**
 * `deno task test`: set up what the tests need, run all of them, the fast ones first, and say how many passed.
 * `--unit` leaves out those that boot guests.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program's own output

import { dirname, fromFileUrl } from "@std/path";
import { TestbedError } from "./testbed/errors.ts";
import { BUILD_TOOLS, ensureHostTools } from "./testbed/host.ts";
import { ensureTestbed } from "./testbed/prepare.ts";
import { stderrProgress } from "./testbed/progress.ts";

const project = dirname(dirname(fromFileUrl(import.meta.url)));

/** Outcome of a part. */
interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
}

const outcome: Outcome = { passed: 0, failed: 0, skipped: 0 };

/** A command that passes or fails as a whole. */
async function step(name: string, command: string, args: string[]): Promise<void> {
  console.log(`\n== ${name}`);
  const { success } = await new Deno.Command(command, { args, cwd: project }).spawn().status;
  if (success) outcome.passed++;
  else outcome.failed++;
}

/** Test files, each test counted. */
async function tests(name: string, args: string[]): Promise<void> {
  console.log(`\n== ${name}`);
  const report = await Deno.makeTempFile({ suffix: ".xml" });
  try {
    const { success } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", `--junit-path=${report}`, ...args],
      cwd: project,
    }).spawn().status;
    const xml = await Deno.readTextFile(report);
    const count = (attribute: string): number =>
      Number(new RegExp(`<testsuites [^>]*\\b${attribute}="(\\d+)"`).exec(xml)?.[1] ?? 0);
    const failed = count("failures") + count("errors");
    // Needs root, say: what did not run has not passed.
    const skipped = xml.match(/<skipped\b/g)?.length ?? 0;
    outcome.passed += count("tests") - failed - skipped;
    outcome.skipped += skipped;
    // A file that does not even load fails without a test.
    outcome.failed += success ? failed : Math.max(1, failed);
    if (count("tests") === 0) outcome.failed++;
  } finally {
    await Deno.remove(report);
  }
}

async function main(): Promise<void> {
  const unit = Deno.args.includes("--unit");
  await ensureHostTools([...BUILD_TOOLS, "g++"], stderrProgress);
  await step("build the helper library", "make", ["-s", "-C", "lib"]);
  await step("format", Deno.execPath(), ["fmt", "--check", "-q"]);
  await step("lint", Deno.execPath(), ["lint", "-q"]);
  await step("types", Deno.execPath(), ["check", "-q", "."]);
  await step("the ring and the helper library's parts, under each sanitizer", "make", ["-s", "-C", "lib", "check-all"]);
  await tests("documentation's examples", ["--doc", "mod.ts", "src"]);
  await tests("units and integration", ["tests/unit", "tests/integration", "tests/model", "tests/testbed"]);
  if (!unit) {
    await ensureTestbed({ progress: stderrProgress });
    await tests("guests", ["tests/vm"]);
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof TestbedError)) throw error;
  console.error(`tests: ${error.message}`);
  outcome.failed++;
}
const skipped = outcome.skipped > 0 ? `, ${outcome.skipped} skipped` : "";
console.log(`\n${outcome.passed} passed, ${outcome.failed} failed${skipped}`);
Deno.exit(outcome.failed === 0 ? 0 : 1);
