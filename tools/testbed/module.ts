/** Building csvn's kernel module for a guest's kernel. */
import { dirname, fromFileUrl, join } from "@std/path";
import { cached, exists, hashTree } from "./cache.ts";
import type { Archive } from "./debian.ts";
import { TestbedError } from "./errors.ts";
import { ensureKernel, type KernelName, runInRoot, withScratch } from "./kernel.ts";
import { runLogged } from "./process.ts";
import type { Progress } from "./progress.ts";

/** The project's top directory. */
export const PROJECT: string = join(
  dirname(fromFileUrl(import.meta.url)),
  "..",
  "..",
);

const RECIPE = 1;
/** What the module is made from; the same relative layout while building. */
const SOURCES = ["guest/module", "guest/include", "lib/include"];

/** Products of a build in place, which are no sources. */
function isProduct(name: string): boolean {
  return /\.(o|ko|mod|mod\.c|cmd)$|^\.|^(Module\.symvers|modules\.order)$/
    .test(name);
}

/** Does the project (still) have the module's source? */
export async function hasModuleSource(project = PROJECT): Promise<boolean> {
  return await exists(join(project, "guest/module/Kbuild")) ||
    await exists(join(project, "guest/module/Makefile"));
}

/** Build `csvn.ko` for a kernel; its path. */
export async function buildModule(
  name: KernelName,
  archive: () => Promise<Archive>,
  progress: Progress,
  project = PROJECT,
): Promise<string> {
  if (!await hasModuleSource(project)) {
    throw new TestbedError(`${project}/guest/module has no Kbuild file`);
  }
  const kernel = await ensureKernel(name, archive, progress);
  const sources: Record<string, Record<string, string>> = {};
  for (const part of SOURCES) {
    const path = join(project, part);
    if (await exists(path)) sources[part] = await hashTree(path, isProduct);
  }
  const dir = await cached({
    name: `module-${name}`,
    inputs: { recipe: RECIPE, release: kernel.release, sources },
    what: `building csvn.ko for kernel ${name}`,
    keep: 8,
    build: async ({ dir, log }) => {
      await withScratch(kernel.root, async (outside, inside) => {
        for (const [part, files] of Object.entries(sources)) {
          for (const file of Object.keys(files)) {
            const target = join(outside, part, file);
            await Deno.mkdir(dirname(target), { recursive: true });
            await Deno.copyFile(join(project, part, file), target);
          }
        }
        const headers = `/usr/src/linux-headers-${kernel.release}`;
        const jobs = `-j${navigator.hardwareConcurrency}`;
        const module = `M=${inside}/guest/module`;
        await runInRoot(
          kernel.root,
          ["make", jobs, "-C", headers, module, "modules"],
          log,
          "building csvn.ko",
        );
        const built = join(outside, "guest/module/csvn.ko");
        if (!await exists(built)) {
          throw new TestbedError(
            `the build made no csvn.ko; its log is ${log}`,
          );
        }
        await runLogged("copying csvn.ko", ["cp", built, dir], { log });
      });
    },
  }, progress);
  return join(dir, "csvn.ko");
}
