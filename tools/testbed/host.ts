/** Programs that the host must have, and how to come by them. */
import { join } from "@std/path";
import { cacheRoot, exists, withLock } from "./cache.ts";
import { TestbedError } from "./errors.ts";
import { capture, findProgram, runLogged } from "./process.ts";
import { type Progress, step } from "./progress.ts";
import { fetching } from "./retry.ts";

/** Debian package by what it provides: a program, or a file (absolute). */
const PACKAGES: Record<string, string> = {
  "/usr/include/stdio.h": "libc6-dev",
  curl: "curl",
  "g++": "g++",
  gcc: "gcc",
  go: "golang-go",
  ip: "iproute2",
  iperf3: "iperf3",
  make: "make",
  python3: "python3-minimal",
  mke2fs: "e2fsprogs",
  mmdebstrap: "mmdebstrap",
  "musl-gcc": "musl-tools",
  setpriv: "util-linux",
  setsid: "util-linux",
  ss: "iproute2",
  unshare: "util-linux",
  xz: "xz-utils",
};

/** What the testbed itself needs to fetch and build its parts. */
export const TESTBED_TOOLS: readonly string[] = ["mmdebstrap", "mke2fs", "xz"];
/** What building the C library needs. */
export const BUILD_TOOLS: readonly string[] = [
  "gcc",
  "make",
  "/usr/include/stdio.h",
];

async function missing(tools: readonly string[]): Promise<string[]> {
  const absent: string[] = [];
  for (const tool of tools) {
    const found = tool.startsWith("/") ? await exists(tool) : findProgram(tool) !== undefined;
    if (!found) absent.push(tool);
  }
  return absent;
}

/** Install Debian packages, after an update of the lists if need be. */
export async function aptInstall(
  packages: readonly string[],
  progress: Progress,
): Promise<void> {
  const wanted = packages.join(" ");
  if (findProgram("apt-get") === undefined) {
    throw new TestbedError(
      `this machine lacks ${wanted} and has no apt-get: install it by hand`,
    );
  }
  if (Deno.uid() !== 0) {
    throw new TestbedError(
      `this machine lacks ${wanted}; as root: apt-get install ${wanted}`,
    );
  }
  const dir = join(cacheRoot(), "logs");
  await Deno.mkdir(dir, { recursive: true });
  const log = join(dir, "apt.log");
  const env = { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C.UTF-8" };
  const apt = ["apt-get", "-y", "-o", "DPkg::Lock::Timeout=300"];
  const install = [...apt, "install", "--no-install-recommends", ...packages];
  await withLock(
    "apt",
    progress,
    () =>
      step(progress, `installing ${wanted}`, async () => {
        await Deno.writeTextFile(log, "");
        // A fresh machine has no package lists, or has stale ones.
        const first = await capture(install, { env });
        if (first.code === 0) return;
        await fetching(`installing ${wanted}`, log, async () => {
          await runLogged("apt-get update", [...apt, "update"], { log, env });
          await runLogged(`installing ${wanted}`, install, { log, env });
        });
      }, log),
  );
}

/**
 * Make sure that the host has these programs, installing what is missing.
 *
 * Throws a {@link TestbedError} that says what to install if it cannot.
 */
export async function ensureHostTools(
  tools: readonly string[],
  progress: Progress,
): Promise<void> {
  const absent = await missing(tools);
  if (absent.length === 0) return;
  const packages = absent.map((tool) => {
    const name = PACKAGES[tool];
    if (name === undefined) {
      throw new TestbedError(`no package is known for ${tool}`);
    }
    return name;
  });
  await aptInstall([...new Set(packages)].sort(), progress);
  const still = await missing(tools);
  if (still.length > 0) {
    throw new TestbedError(
      `still missing after installation: ${still.join(", ")}`,
    );
  }
}
