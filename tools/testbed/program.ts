/** Building C programs that run in a guest. */
import { basename, join } from "@std/path";
import { cached, hashTree } from "./cache.ts";
import { ensureArchive } from "./debian.ts";
import { DEFAULT_KERNEL, ensureKernel, runInRoot, withScratch } from "./kernel.ts";
import type { Progress } from "./progress.ts";

const RECIPE = 1;

/** Build the C files of a directory, with its headers, into one static program; the program's path. */
export async function buildProgram(source: string, progress: Progress): Promise<string> {
  const kernel = await ensureKernel(DEFAULT_KERNEL, () => ensureArchive(progress), progress);
  const name = basename(source);
  const files = await hashTree(source, (file) => !/\.[ch]$/.test(file));
  const dir = await cached({
    name: `program-${name}`,
    inputs: { recipe: RECIPE, release: kernel.release, files },
    what: `building ${name}`,
    keep: 4,
    build: async ({ dir, log }) => {
      await withScratch(kernel.root, async (outside, inside) => {
        const names = Object.keys(files).sort();
        for (const file of names) await Deno.copyFile(join(source, file), join(outside, file));
        const inputs = names.filter((file) => file.endsWith(".c")).map((file) => `${inside}/${file}`);
        const flags = ["-static", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror"];
        const output = `${inside}/${name}.out`;
        await runInRoot(kernel.root, ["gcc", ...flags, "-o", output, ...inputs], log, `building ${name}`);
        await Deno.copyFile(join(outside, `${name}.out`), join(dir, name));
      });
    },
  }, progress);
  return join(dir, name);
}
