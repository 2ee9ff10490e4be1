/** A running guest's own directory: sockets and throw-away images. */
import { join } from "@std/path";
import { removeTree } from "./process.ts";

const PREFIX = "csvn-vm-";

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
    const path = await Deno.makeTempDir({ dir: parent(), prefix: PREFIX });
    const lock = await Deno.open(join(path, "lock"), {
      write: true,
      create: true,
    });
    await lock.tryLock(true);
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
      if (!entry.isDirectory || !entry.name.startsWith(PREFIX)) continue;
      const path = join(parent(), entry.name);
      try {
        using lock = await Deno.open(join(path, "lock"), { write: true });
        if (!await lock.tryLock(true)) continue;
      } catch {
        continue; // of another user, or made just now
      }
      await removeTree(path).catch(() => {});
    }
  }
}
