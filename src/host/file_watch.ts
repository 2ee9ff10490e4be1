/**
 * Tells when files or directories may have changed.
 *
 * Editors write a new file and rename it, configuration management swaps a link, a directory may be replaced as a whole: so it is
 * always the directory that holds a path which is watched, and the path itself if it is a directory.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { basename, dirname, resolve } from "@std/path";

const log = getLogger(["csvn", "files"]);

/** Milliseconds of quiet after which a change is told: who writes a file does so in more than one step. */
const QUIET_MS = 20;
/** Milliseconds after which it is told all the same. */
const UNREST_MS = 200;

/** Watches paths until it is disposed. */
export class FileWatch implements Disposable {
  #watcher: Deno.FsWatcher | undefined;
  #quiet: ReturnType<typeof setTimeout> | undefined;
  #since = 0;
  readonly #paths: readonly string[];
  /** Paths whose change matters, and directories of which every file does. */
  #own = new Set<string>();
  #directories = new Set<string>();

  /** @param changed Told after a change, once things are quiet. */
  constructor(paths: readonly string[], readonly changed: () => void) {
    this.#paths = paths.map((path) => resolve(path));
    this.#start();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#quiet);
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #start(): void {
    this.#own = new Set(this.#paths);
    this.#directories = new Set();
    for (const path of this.#paths) {
      try {
        const real = Deno.realPathSync(path);
        this.#own.add(real);
        if (Deno.statSync(real).isDirectory) this.#directories.add(real);
      } catch {
        // It is not there now; the directory that holds it tells when it is.
      }
    }
    const directories = new Set([...this.#directories, ...[...this.#own].map((path) => dirname(path))]);
    try {
      this.#watcher = Deno.watchFs([...directories].filter(isDirectory), { recursive: false });
      this.#run(this.#watcher);
    } catch (error) {
      log.error("changes of {paths} are not noticed by themselves: {reason}", {
        paths: this.#paths.join(", "),
        reason: (error as Error).message,
      });
    }
  }

  async #run(watcher: Deno.FsWatcher): Promise<void> {
    for await (const { kind, paths } of watcher) {
      if (kind === "access" || !paths.some((path) => this.#concerns(path))) continue;
      this.#since ||= Date.now();
      clearTimeout(this.#quiet);
      const wait = Math.max(0, Math.min(QUIET_MS, this.#since + UNREST_MS - Date.now()));
      this.#quiet = setTimeout(() => this.#tell(), wait);
    }
  }

  /** May an event for this path change what ours hold? */
  #concerns(path: string): boolean {
    // Links such as Kubernetes' ..data lead to the files of a whole directory.
    return this.#own.has(path) || this.#directories.has(dirname(path)) || basename(path).startsWith("..");
  }

  #tell(): void {
    this.#since = 0;
    // What was watched may have been replaced.
    this.#watcher?.close();
    this.#start();
    this.changed();
  }
}

function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}
