/** Root file systems from Debian packages, made by mmdebstrap(1). */
import { dirname, join } from "@std/path";
import { findMirror } from "./apt_sources.ts";
import { exists } from "./cache.ts";
import { TestbedError } from "./errors.ts";
import { aptInstall, ensureHostTools, TESTBED_TOOLS } from "./host.ts";
import { capture, removeTree, runLogged, tailOf } from "./process.ts";
import type { Progress } from "./progress.ts";
import { fetching } from "./retry.ts";

const KEYRINGS = "/usr/share/keyrings";
/** Settings of the host's apt that hold for every download it makes. */
const CARRIED_OVER =
  /^Acquire::(https?|ftp)::|^Acquire::(Retries|Check-Valid-Until|Check-Date|Max-ValidTime|ForceIPv[46]) /;

/** What to fetch into a root file system. */
export interface RootSpec {
  /** Debian's release. */
  suite: "bookworm" | "trixie" | "forky";
  /** Prefer the release's backports over the release. */
  backports?: boolean;
  /**
   * `extract` unpacks the packages and runs none of their scripts; `essential`
   * installs them, on top of Debian's essential set.
   */
  variant: "extract" | "essential";
  /** Packages; their dependencies come along, recommendations do not. */
  packages: readonly string[];
  /** Patterns of paths to leave out (`essential` only). */
  exclude?: readonly string[];
}

/** The proxy and other transport settings of the host's apt. */
export function carriedOver(aptConfigDump: string): string {
  return aptConfigDump.split("\n")
    .filter((line) => CARRIED_OVER.test(line))
    .map((line) => `${line}\n`).join("");
}

/** Keyring with the archive's keys for both releases; installed if too old. */
async function archiveKeyring(progress: Progress): Promise<string> {
  const find = async (name: string): Promise<string | undefined> => {
    for (const suffix of ["pgp", "gpg"]) {
      const path = join(KEYRINGS, `${name}.${suffix}`);
      if (await exists(path)) return path;
    }
    return undefined;
  };
  // An early Debian 12 has a keyring from before trixie's keys were made. The
  // newer package comes through apt, so the old keys vouch for the new ones.
  if (await find("debian-archive-trixie-stable") === undefined) {
    await aptInstall(["debian-archive-keyring"], progress);
  }
  const keyring = await find("debian-archive-keyring");
  if (
    keyring === undefined ||
    await find("debian-archive-trixie-stable") === undefined
  ) {
    throw new TestbedError(
      "the package debian-archive-keyring has no key of Debian 13; upgrade it",
    );
  }
  return keyring;
}

/** Where packages come from and how they are verified. */
export interface Archive {
  /** Base address of the mirror. */
  uri: string;
  /** Value of `signed-by`: one or more keyrings. */
  signedBy: string;
}

/** Find the mirror and keys, installing what fetching from it needs. */
export async function ensureArchive(progress: Progress): Promise<Archive> {
  await ensureHostTools(TESTBED_TOOLS, progress);
  const keyring = await archiveKeyring(progress);
  const mirror = await findMirror();
  const keys = new Set([keyring]);
  if (mirror.signedBy !== undefined && await exists(mirror.signedBy)) {
    keys.add(mirror.signedBy);
  }
  return { uri: mirror.uri, signedBy: [...keys].join(",") };
}

/** Fetch packages into the new directory `target`. */
export async function makeRoot(
  spec: RootSpec,
  target: string,
  log: string,
  archive: Archive,
): Promise<void> {
  const { stdout } = await capture(["apt-config", "dump"]);
  // Beside the root, so that it goes with an interrupted build.
  const options = join(dirname(target), "apt.conf");
  try {
    // A file and not an argument: a proxy's address may hold a password.
    let text = carriedOver(stdout) + 'APT::Install-Recommends "false";\n';
    if (spec.backports) {
      text += `APT::Default-Release "${spec.suite}-backports";\n`;
    }
    await Deno.writeTextFile(options, text, { mode: 0o600 });
    const suites = [spec.suite as string];
    if (spec.backports) suites.push(`${spec.suite}-backports`);
    const command = [
      "mmdebstrap",
      `--variant=${spec.variant}`,
      "--format=directory",
      `--include=${spec.packages.join(",")}`,
      `--aptopt=${options}`,
      ...(spec.exclude ?? []).map((path) => `--dpkgopt=path-exclude=${path}`),
      // Packages of Java put links there, and fail without it.
      '--setup-hook=mkdir -p "$1/usr/share/man/man1"',
      spec.suite,
      target,
      ...suites.map((suite) => `deb [signed-by=${archive.signedBy}] ${archive.uri} ${suite} main`),
    ];
    const env = { LC_ALL: "C.UTF-8", DEBIAN_FRONTEND: "noninteractive" };
    const fetched = fetching(
      `fetching packages of ${spec.suite}`,
      log,
      () => runLogged("fetching packages", command, { log, env }),
      () => removeTree(target),
    );
    await fetched.catch(async (error) => {
      const unknown = /^E: Unable to locate package (\S+)/m
        .exec(await tailOf(log, 100))?.[1];
      if (unknown === undefined) throw error;
      throw new TestbedError(`Debian ${spec.suite} has no package ${unknown}`);
    });
    // mmdebstrap writes the options into the root: keep no password there.
    const left = join(target, "etc/apt/apt.conf.d/99mmdebstrap");
    await Deno.remove(left).catch(() => {});
  } finally {
    await Deno.remove(options).catch(() => {});
  }
}

/** How to start a program of a fetched root (a path below it) on this host's own files. */
export function commandInRoot(root: string, program: string): string[] {
  // Its own dynamic linker and libraries, and no chroot: paths on the command
  // line (sockets, images) mean what they mean to the caller.
  return [
    join(root, "usr/lib64/ld-linux-x86-64.so.2"),
    "--library-path",
    join(root, "usr/lib/x86_64-linux-gnu"),
    join(root, program),
  ];
}
