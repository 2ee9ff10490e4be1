/** Programs of Debian packages for the host that are not installed there: run from a fetched root. */
import { join } from "@std/path";
import { cached, exists } from "./cache.ts";
import { commandInRoot, ensureArchive, makeRoot, type RootSpec } from "./debian.ts";
import { TestbedError } from "./errors.ts";
import type { Progress } from "./progress.ts";

const RECIPE = 1;

/** Where programs come from. */
export type ProgramSource = Pick<RootSpec, "suite" | "backports" | "packages">;

/**
 * Fetch packages without installing them; the command that starts a program of theirs, given its path (`usr/bin/passt`).
 *
 * Throws a {@link TestbedError} if they cannot be fetched or there is no such program.
 */
export async function ensureHostProgram(source: ProgramSource, program: string, progress: Progress): Promise<string[]> {
  const dir = await cached({
    name: "host-programs",
    inputs: { recipe: RECIPE, source },
    what: `fetching ${source.packages.join(", ")}`,
    keep: 8,
    build: async ({ dir, log }) => {
      await makeRoot({ ...source, variant: "extract" }, join(dir, "root"), log, await ensureArchive(progress));
    },
  }, progress);
  const root = join(dir, "root");
  if (!await exists(join(root, program))) {
    throw new TestbedError(`${source.packages.join(", ")}: no ${program} in ${dir}`);
  }
  return commandInRoot(root, program);
}
