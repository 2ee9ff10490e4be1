/**
 * Tells when files or directories may have changed.
 *
 * Editors write a new file and rename it, configuration management swaps a link, a directory may be replaced as a whole: so it is
 * always the directory that holds a path which is watched, and the path itself if it is a directory.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { type Clock, systemClock, type Timer } from "../clock.ts";
import { basename, dirname, resolve } from "@std/path";

const log = getLogger(["csvn", "files"]);

/** Milliseconds of quiet after which a change is told: who writes a file does so in more than one step. */
const QUIET_MS = 20;
/** Milliseconds after which it is told all the same. */
const UNREST_MS = 200;

/** Watches paths until it is disposed. */
export class FileWatch implements Disposable {
  #watcher: Deno.FsWatcher | undefined;
  #quiet: Timer | undefined;
  /** When the first change came that was not told. */
  #since: number | undefined;
  readonly #paths: readonly string[];
  /** Paths whose change matters, and directories of which every file does. */
  #own = new Set<string>();
  #directories = new Set<string>();

  /** @param changed Told after a change, once things are quiet. */
  constructor(paths: readonly string[], readonly changed: () => void, readonly clock: Clock = systemClock) {
    this.#paths = paths.map((path) => resolve(path));
    this.#start();
  }

  [Symbol.dispose](): void {
    this.#quiet?.cancel();
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
      this.#run(this.#watcher).catch((error: Error) => this.#failed(error));
    } catch (error) {
      this.#failed(error as Error);
    }
  }

  #failed({ message }: Error): void {
    log.error("changes of {paths} are not noticed by themselves: {reason}", {
      paths: this.#paths.join(", "),
      reason: message,
    });
  }

  async #run(watcher: Deno.FsWatcher): Promise<void> {
    for await (const { kind, paths } of watcher) {
      if (kind === "access" || !paths.some((path) => this.#concerns(path))) continue;
      const now = this.clock.now();
      this.#since ??= now;
      this.#quiet?.cancel();
      const wait = Math.max(0, Math.min(QUIET_MS, this.#since + UNREST_MS - now));
      this.#quiet = this.clock.after(wait, () => this.#tell());
    }
  }

  /** May an event for this path change what ours hold? */
  #concerns(path: string): boolean {
    // Links such as Kubernetes' ..data lead to the files of a whole directory.
    return this.#own.has(path) || this.#directories.has(dirname(path)) || basename(path).startsWith("..");
  }

  #tell(): void {
    this.#since = undefined;
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
