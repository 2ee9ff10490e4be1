/**
 * `deno task test`: set up what the tests need, run all of them, the fast ones first, and say how many passed.
 * `--unit` leaves out those that boot guests.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program's own output

import { delay } from "@std/async";
import { dirname, fromFileUrl } from "@std/path";
import { TestbedError } from "./testbed/errors.ts";
import { BUILD_TOOLS, ensureHostTools } from "./testbed/host.ts";
import { ensureTestbed } from "./testbed/prepare.ts";
import { stderrProgress } from "./testbed/progress.ts";
import { EXCERPT, readReport } from "./test_report.ts";

const project = dirname(dirname(fromFileUrl(import.meta.url)));

/** Outcome of a part. */
interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
  /** What failed, and how it ended: said again at the end, since a log is read from there. */
  failures: string[];
}

const outcome: Outcome = { passed: 0, failed: 0, skipped: 0, failures: [] };

const LAST_WORDS_MS = 5000;

/** Pass on what a command prints; returns the end of it. */
async function relay(from: ReadableStream<Uint8Array>, to: { writeSync(bytes: Uint8Array): number }): Promise<string> {
  const decoder = new TextDecoder();
  let tail = "";
  for await (const bytes of from) {
    for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
    tail = (tail + decoder.decode(bytes, { stream: true })).slice(-EXCERPT);
  }
  return tail;
}

/** A command that passes or fails as a whole. */
async function step(name: string, command: string, args: string[]): Promise<void> {
  console.log(`\n== ${name}`);
  const child = new Deno.Command(command, { args, cwd: project, stdout: "piped", stderr: "piped" }).spawn();
  const relayed = Promise.all([relay(child.stdout, Deno.stdout), relay(child.stderr, Deno.stderr)]);
  const { success, code } = await child.status;
  // Whatever it has left behind may hold its output open.
  const tails = await Promise.race([relayed, delay(LAST_WORDS_MS).then(() => ["(its output has not ended)"])]);
  if (success) {
    outcome.passed++;
    return;
  }
  outcome.failed++;
  outcome.failures.push([`${name}: exit code ${code}`, ...tails].join("\n"));
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
    const { total, failed, skipped, failures } = readReport(await Deno.readTextFile(report));
    outcome.passed += total - failed - skipped;
    outcome.skipped += skipped;
    outcome.failed += failed;
    outcome.failures.push(...failures);
    // A file that does not even load fails without a test.
    if (total === 0 || (!success && failed === 0)) {
      outcome.failed++;
      outcome.failures.push(`${name}: a file did not load, or there was no test`);
    }
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
  outcome.failures.push(error.message);
}
if (outcome.failures.length > 0) console.log(`\n== what failed\n\n${outcome.failures.join("\n\n")}`);
const skipped = outcome.skipped > 0 ? `, ${outcome.skipped} skipped` : "";
console.log(`\n${outcome.passed} passed, ${outcome.failed} failed${skipped}`);
Deno.exit(outcome.failed === 0 ? 0 : 1);
