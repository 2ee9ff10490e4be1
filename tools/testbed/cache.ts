/**
 * The cache of everything that the testbed fetches or builds.
 *
 * An artifact is a directory `<name>-<key>`, the key a hash of all its inputs.
 * It is built in `tmp/` and renamed into place when it is whole, so that it is
 * either absent or complete. A lock file for each artifact makes processes
 * that want the same one wait for the one that builds it; the kernel drops the
 * lock with its holder, so a crash leaves nothing to clean up by hand.
 */
import { delay } from "@std/async";
import { join } from "@std/path";
import { TestbedError } from "./errors.ts";
import { removeTree } from "./process.ts";
import { type Progress, step } from "./progress.ts";

/** How often a held lock is tried again, in milliseconds. */
const LOCK_POLL_MS = 200;
/** How long to wait for another process's build, in milliseconds. */
const LOCK_TIMEOUT_MS = 30 * 60_000;

/** The cache's directory, from the environment. */
export function cacheRoot(): string {
  const own = Deno.env.get("CSVN_CACHE");
  if (own) return own;
  const xdg = Deno.env.get("XDG_CACHE_HOME");
  if (xdg) return join(xdg, "csvn");
  const home = Deno.env.get("HOME");
  if (home) return join(home, ".cache", "csvn");
  throw new TestbedError(
    "no place for the cache: set CSVN_CACHE, XDG_CACHE_HOME or HOME",
  );
}

/** JSON with the keys of every object in order. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part) => {
    if (part === null || typeof part !== "object" || Array.isArray(part)) {
      return part;
    }
    return Object.fromEntries(
      Object.entries(part).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
    );
  });
}

/** 16 hexadecimal digits that depend on every input, not on key order. */
export async function cacheKey(inputs: unknown): Promise<string> {
  const bytes = new TextEncoder().encode(canonical(inputs));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return digest.toHex().slice(0, 16);
}

/** Hash of a file's content, as input to a {@link cacheKey}. */
export async function hashFile(path: string): Promise<string> {
  const bytes = await Deno.readFile(path);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** Hashes of all files below a directory, by relative path. */
export async function hashTree(
  dir: string,
  skip: (name: string) => boolean = () => false,
): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  const walk = async (relative: string): Promise<void> => {
    for await (const entry of Deno.readDir(join(dir, relative))) {
      if (skip(entry.name)) continue;
      const path = relative === "" ? entry.name : `${relative}/${entry.name}`;
      if (entry.isDirectory) await walk(path);
      else hashes[path] = await hashFile(join(dir, path));
    }
  };
  await walk("");
  return hashes;
}

/** Does something exist at this path? */
export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Hold the cache's lock `name` while `work` runs.
 *
 * Waits for another holder, with one line of progress that names its process.
 */
export async function withLock<T>(
  name: string,
  progress: Progress,
  work: () => Promise<T>,
): Promise<T> {
  const dir = join(cacheRoot(), "locks");
  await Deno.mkdir(dir, { recursive: true });
  const path = join(dir, `${name}.lock`);
  using file = await Deno.open(path, { read: true, write: true, create: true });
  const deadline = Date.now() + LOCK_TIMEOUT_MS;
  let told = false;
  while (!await file.tryLock(true)) {
    if (!told) {
      told = true;
      const owner = (await Deno.readTextFile(path)).trim();
      progress(`${name}: waiting for process ${owner || "?"} to finish it`);
    }
    if (Date.now() > deadline) {
      throw new TestbedError(`${name}: another process holds ${path} too long`);
    }
    await delay(LOCK_POLL_MS);
  }
  await file.truncate(0);
  await file.write(new TextEncoder().encode(`${Deno.pid}\n`));
  return await work();
}

/** What a builder is given. */
export interface BuildContext {
  /** Empty directory to build in; becomes the artifact. */
  dir: string;
  /** Log file for the output of programs. */
  log: string;
}

/** An artifact to be found or built. */
export interface Artifact {
  /** First part of the directory's name: letters, digits, dots and dashes. */
  name: string;
  /** Everything that decides what the artifact is; JSON. */
  inputs: unknown;
  /** What progress lines call it. */
  what: string;
  /** Fills the directory. */
  build: (context: BuildContext) => Promise<void>;
  /** If given, only this many artifacts of this name are kept. */
  keep?: number;
}

/** What this process builds or waits for, by its final path. */
const underWay = new Map<string, Promise<string>>();

/** Find an artifact in the cache or build it; its directory's path. */
export async function cached(
  artifact: Artifact,
  progress: Progress,
): Promise<string> {
  const { name } = artifact;
  const id = `${name}-${await cacheKey(artifact.inputs)}`;
  const final = join(cacheRoot(), id);
  const other = underWay.get(final);
  if (other !== undefined) return await other;
  const work = findOrBuild(artifact, id, final, progress)
    .finally(() => underWay.delete(final));
  underWay.set(final, work);
  return await work;
}

async function findOrBuild(
  artifact: Artifact,
  id: string,
  final: string,
  progress: Progress,
): Promise<string> {
  if (await exists(final)) return await touched(final);
  const root = cacheRoot();
  return await withLock(id, progress, async () => {
    if (await exists(final)) return final;
    const log = join(root, "logs", `${id}.log`);
    const dir = await makeBuildDir(join(root, "tmp"), id);
    await Deno.mkdir(join(root, "logs"), { recursive: true });
    await Deno.writeTextFile(log, "");
    try {
      await step(
        progress,
        artifact.what,
        () => artifact.build({ dir, log }),
        log,
      );
      await Deno.rename(dir, final);
    } catch (error) {
      await removeTree(dir);
      throw error;
    }
    if (artifact.keep !== undefined) {
      await prune(root, artifact.name, artifact.keep);
    }
    return final;
  });
}

/**
 * A new directory to build in; what killed builds of the same left is removed.
 *
 * Each has a name of its own: a killed build's programs may take a moment to
 * notice, and still write.
 */
async function makeBuildDir(tmp: string, id: string): Promise<string> {
  await Deno.mkdir(tmp, { recursive: true });
  for await (const entry of Deno.readDir(tmp)) {
    if (!entry.name.startsWith(`${id}.`)) continue;
    // If that fails, the next build's attempt will do.
    await removeTree(join(tmp, entry.name)).catch(() => {});
  }
  const dir = await Deno.makeTempDir({ dir: tmp, prefix: `${id}.` });
  await Deno.chmod(dir, 0o755); // the package manager's user must get in
  return dir;
}

/** Mark as used now, so that {@link prune} keeps it. */
async function touched(path: string): Promise<string> {
  const now = new Date();
  // Somebody else's cache may be read-only, and that is no failure.
  await Deno.utime(path, now, now).catch(() => {});
  return path;
}

/** Remove all but the `keep` most recently used artifacts of a name. */
async function prune(root: string, name: string, keep: number): Promise<void> {
  const shape = new RegExp(`^${RegExp.escape(name)}-[0-9a-f]{16}$`);
  const found: { path: string; time: number }[] = [];
  for await (const entry of Deno.readDir(root)) {
    if (!shape.test(entry.name)) continue;
    const path = join(root, entry.name);
    const info = await Deno.stat(path);
    found.push({ path, time: info.mtime?.getTime() ?? 0 });
  }
  found.sort((a, b) => b.time - a.time);
  for (const { path } of found.slice(keep)) await removeTree(path);
}
