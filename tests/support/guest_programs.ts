/**
 * C programs of the tests and of guest/examples, in guests.
 *
 * @module
 */

import { assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import type { Guest } from "../../tools/testbed/guest.ts";
import { buildProgram } from "../../tools/testbed/program.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";

/** The zero-copy tests' program, and the examples. */
export const ZERO_COPY_PROGRAMS: readonly string[] = [
  "guest/test/zero",
  "guest/examples/echo.c",
  "guest/examples/send_file.c",
  "guest/examples/relay.c",
];

/** Build programs (paths in the project) and put them into guests, in /usr/local/bin. */
export async function installPrograms(guests: readonly Guest[], sources = ZERO_COPY_PROGRAMS): Promise<void> {
  for (const source of sources) {
    const program = await buildProgram(fromFileUrl(new URL(`../../${source}`, import.meta.url)), stderrProgress);
    const target = `/usr/local/bin/${program.slice(program.lastIndexOf("/") + 1)}`;
    const stdin = await Deno.readFile(program);
    for (const guest of guests) await guest.run(`cat >${target} && chmod +x ${target}`, { stdin, check: true });
  }
}

/** Run a program that prints "passed" last; what it printed before. */
export async function passes(guest: Guest, command: string, timeoutMs = 60_000): Promise<string> {
  const { stdout, stderr } = await guest.run(command, { timeoutMs });
  assertMatch(stdout, /^passed\n$/m, `${command}: ${stdout}${stderr}`);
  return stdout.replace(/passed\n$/, "");
}

/** Wait until somebody in the guest listens on a port. */
export async function listens(guest: Guest, port: number): Promise<void> {
  await guest.run(`until ss -ltn | grep -q :${port}; do sleep 0.1; done`, { check: true });
}
