/**
 * Debian's cloud kernels, each with the headers and the compiler that build
 * modules for it. Image and headers are fetched in one go: they have to match
 * to the last digit, and the archive moves.
 */
import { join } from "@std/path";
import { cached, exists } from "./cache.ts";
import { type Archive, makeRoot, type RootSpec } from "./debian.ts";
import { TestbedError } from "./errors.ts";
import { removeTree, runLogged } from "./process.ts";
import type { Progress } from "./progress.ts";

/** Kernels that guests can run. */
export type KernelName = "6.1" | "6.12" | "7.3";

/** The kernel of a guest that asks for none. */
export const DEFAULT_KERNEL: KernelName = "6.12";

const SUITES: Record<KernelName, Pick<RootSpec, "suite" | "backports">> = {
  "6.1": { suite: "bookworm" },
  "6.12": { suite: "trixie" },
  "7.3": { suite: "trixie", backports: true },
};

/** Names of all kernels, for messages. */
export const KERNELS: readonly KernelName[] = ["6.1", "6.12", "7.3"];

const RECIPE = 2;

/** A fetched kernel. */
export interface Kernel {
  /** Which one. */
  name: KernelName;
  /** Release as `uname -r` prints it. */
  release: string;
  /** Root with image, headers, compiler and a static busybox. */
  root: string;
  /** Path of the kernel image. */
  image: string;
  /** Path of the modules' directory, with `modules.dep`. */
  modules: string;
}

/** Is this the name of a kernel? */
export function isKernelName(name: string): name is KernelName {
  return (KERNELS as readonly string[]).includes(name);
}

/** Find a kernel in the cache or fetch it. */
export async function ensureKernel(
  name: KernelName,
  archive: () => Promise<Archive>,
  progress: Progress,
): Promise<Kernel> {
  const dir = await cached({
    name: `kernel-${name}`,
    inputs: { recipe: RECIPE, name },
    what: `fetching kernel ${name} and its compiler`,
    build: async ({ dir, log }) => {
      const root = join(dir, "root");
      // Unpacking is all that is needed, and a third of the time: what the
      // packages' scripts would have done that matters is done below.
      const spec: RootSpec = {
        ...SUITES[name],
        variant: "extract",
        packages: [
          "base-files",
          "bash",
          "busybox-static",
          "coreutils",
          "dash",
          "diffutils",
          "findutils",
          "gcc",
          "grep",
          "gzip",
          "kmod",
          "libc6-dev",
          "linux-headers-cloud-amd64",
          "linux-image-cloud-amd64",
          "make",
          "mawk",
          "perl-base",
          "sed",
          "tar",
          "xz-utils",
        ],
      };
      await makeRoot(spec, root, log, await archive());
      if (!await exists(join(root, "usr/bin/awk"))) {
        await Deno.symlink("mawk", join(root, "usr/bin/awk"));
      }
      const kernel = await describe(name, root);
      await runInRoot(root, ["depmod", kernel.release], log, "depmod");
    },
  }, progress);
  return await describe(name, join(dir, "root"));
}

async function describe(name: KernelName, root: string): Promise<Kernel> {
  for (const lib of ["usr/lib/modules", "lib/modules"]) {
    const modules = join(root, lib);
    if (!await exists(modules)) continue;
    for await (const entry of Deno.readDir(modules)) {
      // Newer packages keep the image beside the modules.
      for (
        const image of [
          join(root, "boot", `vmlinuz-${entry.name}`),
          join(modules, entry.name, "vmlinuz"),
        ]
      ) {
        if (!await exists(image)) continue;
        return {
          name,
          release: entry.name,
          root,
          image,
          modules: join(modules, entry.name),
        };
      }
    }
  }
  throw new TestbedError(`${root} holds no kernel; remove it and try again`);
}

/**
 * Enter a root, with /proc mounted in a name space of its own where that is
 * allowed: newer kernels' objtool reads its limits there.
 */
const ENTER = `
if unshare --mount true 2>/dev/null; then
  exec unshare --mount --propagation private sh -c \
    'mount -t proc proc "$1/proc"; exec chroot "$@"' sh "$@"
fi
exec chroot "$@"`;

/** Run a program inside a fetched root, by chroot; needs root's rights. */
export async function runInRoot(
  root: string,
  command: readonly string[],
  log: string,
  what: string,
): Promise<void> {
  if (Deno.uid() !== 0) {
    throw new TestbedError(`${what} needs root's rights (it runs chroot)`);
  }
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8" };
  await runLogged(what, ["sh", "-c", ENTER, "sh", root, ...command], {
    log,
    env,
  });
}

/**
 * Lend a new directory inside a root to `work`: its path outside, and its path
 * as programs inside see it. It is removed afterwards.
 */
export async function withScratch<T>(
  root: string,
  work: (outside: string, inside: string) => Promise<T>,
): Promise<T> {
  const outside = await Deno.makeTempDir({ dir: join(root, "tmp") });
  try {
    return await work(outside, outside.slice(root.length));
  } finally {
    await removeTree(outside);
  }
}
