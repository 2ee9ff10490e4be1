/** Building C programs that run in a guest. */
import { basename, dirname, join } from "@std/path";
import { cached, hashTree } from "./cache.ts";
import { ensureArchive } from "./debian.ts";
import { DEFAULT_KERNEL, ensureKernel, runInRoot, withScratch } from "./kernel.ts";
import { PROJECT } from "./module.ts";
import type { Progress } from "./progress.ts";

const RECIPE = 2;
/** The project's headers that programs may include. */
const INCLUDES = ["guest/include", "lib/include"];

/**
 * Build a C file, or all of a directory, into one static program; the program's path. Headers are looked for in the same
 * directory and among the project's.
 */
export async function buildProgram(source: string, progress: Progress): Promise<string> {
  const kernel = await ensureKernel(DEFAULT_KERNEL, () => ensureArchive(progress), progress);
  const single = source.endsWith(".c");
  const name = basename(source, ".c");
  const folder = single ? dirname(source) : source;
  const wanted = (file: string): boolean => single ? file === basename(source) : file.endsWith(".c");
  const copies = await hashTree(folder, (file) => !(file.endsWith(".h") || wanted(file)));
  const headers: Record<string, Record<string, string>> = {};
  for (const path of INCLUDES) headers[path] = await hashTree(join(PROJECT, path));
  const dir = await cached({
    name: `program-${name}`,
    inputs: { recipe: RECIPE, release: kernel.release, files: copies, headers },
    what: `building ${name}`,
    keep: 4,
    build: async ({ dir, log }) => {
      await withScratch(kernel.root, async (outside, inside) => {
        const copy = async (from: string, to: string): Promise<void> => {
          await Deno.mkdir(join(outside, dirname(to)), { recursive: true });
          await Deno.copyFile(from, join(outside, to));
        };
        for (const file of Object.keys(copies)) await copy(join(folder, file), `source/${file}`);
        for (const [path, files] of Object.entries(headers)) {
          for (const file of Object.keys(files)) await copy(join(PROJECT, path, file), `${path}/${file}`);
        }
        const inputs = Object.keys(copies).filter(wanted).sort().map((file) => `${inside}/source/${file}`);
        const flags = ["-static", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror"];
        flags.push(...INCLUDES.map((path) => `-I${inside}/${path}`));
        const output = `${inside}/${name}.out`;
        await runInRoot(kernel.root, ["gcc", ...flags, "-o", output, ...inputs], log, `building ${name}`);
        await Deno.copyFile(join(outside, `${name}.out`), join(dir, name));
      });
    },
  }, progress);
  return join(dir, name);
}
