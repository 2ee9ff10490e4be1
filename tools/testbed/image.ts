/** Disk images: the guest's root file system, and copies of host directories. */
import { join } from "@std/path";
import { cached } from "./cache.ts";
import { type Archive, makeRoot } from "./debian.ts";
import { TestbedError } from "./errors.ts";
import { capture, findProgram, removeTree, runLogged } from "./process.ts";
import type { Progress } from "./progress.ts";

const RECIPE = 1;
const MIB = 1024 * 1024;

/** In every guest. */
const BASE_PACKAGES: readonly string[] = [
  "bash",
  "busybox-static",
  "iproute2",
  "kmod",
  "procps",
];

/** In every guest, besides the base: the applications that tests talk with. */
export const DEFAULT_PACKAGES: readonly string[] = [
  "ca-certificates",
  "curl",
  "iperf3",
  "nginx-light",
  "python3",
  "redis-server",
  "redis-tools",
  "socat",
];

/** Left out of the root: nothing reads it in a test. */
const EXCLUDED = [
  "/usr/share/doc/*",
  "/usr/share/man/*",
  "/usr/share/info/*",
  "/usr/share/locale/*",
  "/usr/share/lintian/*",
  "/usr/share/bash-completion/*",
];

/** The packages of an image, sorted; throws on what is no package's name. */
export function packageList(extra: readonly string[]): string[] {
  for (const name of extra) {
    if (!/^[a-z0-9][a-z0-9+.-]+$/.test(name)) {
      throw new TestbedError(`"${name}" is not the name of a Debian package`);
    }
  }
  return [...new Set([...BASE_PACKAGES, ...DEFAULT_PACKAGES, ...extra])].sort();
}

/** Space and inodes that a directory's copy takes. */
async function measure(dir: string): Promise<{ bytes: number; files: number }> {
  const size = await capture(["du", "-s", "--block-size=1", dir]);
  const count = await capture(["du", "-s", "--inodes", dir]);
  // Unreadable files show up as an error of du, and mke2fs would stop at them.
  for (const { code, stderr } of [size, count]) {
    if (code !== 0) {
      throw new TestbedError(`cannot read all of ${dir}: ${stderr.trim()}`);
    }
  }
  return {
    bytes: Number.parseInt(size.stdout),
    files: Number.parseInt(count.stdout),
  };
}

/**
 * Make an ext4 image with a copy of a directory. No mounting is involved.
 *
 * `spareBytes` and a few thousand inodes stay free.
 */
export async function makeImage(
  source: string,
  image: string,
  options: { spareBytes: number; log: string },
): Promise<void> {
  const { bytes, files } = await measure(source);
  const inodes = files + 8192;
  // Inodes take 256 bytes each, and block maps about a percent.
  const size = Math.ceil(
    (bytes * 1.05 + inodes * 256 + options.spareBytes + 16 * MIB) / MIB,
  );
  await runLogged(`making an image of ${source}`, [
    findProgram("mke2fs") ?? "mke2fs",
    "-q",
    "-F",
    "-t",
    "ext4",
    "-b",
    "4096",
    "-m",
    "0",
    "-N",
    String(inodes),
    // Thrown away after one boot at most: no journal. lazy_itable_init is off,
    // as the guest's kernel would do it in the background.
    "-O",
    "^has_journal",
    "-E",
    "lazy_itable_init=0",
    "-d",
    source,
    image,
    `${size}M`,
  ], { log: options.log });
}

/** The guest's root image with these packages besides the usual; its path. */
export async function ensureImage(
  extra: readonly string[],
  archive: () => Promise<Archive>,
  progress: Progress,
): Promise<string> {
  const packages = packageList(extra);
  const dir = await cached({
    name: "image",
    inputs: { recipe: RECIPE, packages, excluded: EXCLUDED },
    what: "building the guest's image",
    build: async ({ dir, log }) => {
      const root = join(dir, "root");
      await makeRoot(
        {
          suite: "trixie",
          variant: "essential",
          packages,
          exclude: EXCLUDED,
        },
        root,
        log,
        await archive(),
      );
      await removeTree(join(root, "var/cache/apt"));
      await removeTree(join(root, "var/lib/apt/lists"));
      await makeImage(root, join(dir, "root.img"), {
        spareBytes: 0,
        log,
      });
      await removeTree(root);
    },
  }, progress);
  return join(dir, "root.img");
}
