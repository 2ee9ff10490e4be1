/** A running guest's own directory: sockets and throw-away images. */
import { basename, join } from "@std/path";
import { removeTree } from "./process.ts";

const PREFIX = "csvn-vm-";
/** Of one that nobody may look at yet. */
const NEW_PREFIX = "csvn-new-";
/** Milliseconds after which one that is new has lost its owner. */
const NEW_MS = 600_000;

/** Where such directories are; short, as socket paths hold 107 bytes. */
function parent(): string {
  const own = Deno.env.get("TMPDIR");
  return own !== undefined && own.length < 50 && own !== "" ? own : "/tmp";
}

/** A directory that goes with the guest. */
export class RunDir implements AsyncDisposable {
  /** Its path. */
  readonly path: string;
  readonly #lock: Deno.FsFile;

  private constructor(path: string, lock: Deno.FsFile) {
    this.path = path;
    this.#lock = lock;
  }

  /** Make a new one, and remove those that killed processes left. */
  static async create(): Promise<RunDir> {
    await RunDir.#sweep();
    // Whoever sweeps meanwhile sees it when it is locked, and not before.
    const made = await Deno.makeTempDir({ dir: parent(), prefix: NEW_PREFIX });
    const lock = await Deno.open(join(made, "lock"), { write: true, create: true });
    await lock.lock(true);
    const path = join(parent(), basename(made).replace(NEW_PREFIX, PREFIX));
    await Deno.rename(made, path);
    return new RunDir(path, lock);
  }

  /** Remove it and all in it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#lock.close();
    await removeTree(this.path);
  }

  /** A directory whose lock is free has lost its owner. */
  static async #sweep(): Promise<void> {
    for await (const entry of Deno.readDir(parent())) {
      const path = join(parent(), entry.name);
      if (entry.isDirectory && entry.name.startsWith(NEW_PREFIX)) await RunDir.#sweepNew(path);
      if (!entry.isDirectory || !entry.name.startsWith(PREFIX)) continue;
      try {
        using lock = await Deno.open(join(path, "lock"), { write: true });
        if (!await lock.tryLock(true)) continue;
      } catch {
        continue; // of another user, or being removed
      }
      await removeTree(path).catch(() => {});
    }
  }

  /** One that was never finished. */
  static async #sweepNew(path: string): Promise<void> {
    const made = (await Deno.stat(path).catch(() => undefined))?.mtime?.getTime() ?? Date.now();
    if (Date.now() - made > NEW_MS) await removeTree(path).catch(() => {});
  }
}
