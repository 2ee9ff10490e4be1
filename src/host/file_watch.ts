/**
 * Tells when files or directories may have changed.
 *
 * Theory of operation. Editors write a new file and rename it, configuration management swaps a link, a directory is replaced as a whole, or is not
 * there yet: so a path is followed as the system would, name by name and link by link (`trail.ts`), and each directory in which a name is looked
 * up is watched, up to where a name is missing. After each change all is followed anew, since what was watched may have been replaced. Should
 * things change between following and watching, that is found out by following them once more.
 *
 * Deno has one watch of a directory for all who watch it in a process, by its path, and does not renew it while anybody has it: another
 * directory at that path would go unnoticed. So when one follows its paths anew, all do: they end, wait until all have ended, and begin again.
 * What has changed meanwhile nobody knows, so all tell a change.
 *
 * Where the system refuses to watch, that is said once. Until it does not any more, every now and then a change is told that may be none.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { type Clock, systemClock, type Timer } from "../clock.ts";
import { dirname } from "@std/path";
import { Trail } from "./trail.ts";

const log = getLogger(["csvn", "files"]);

/** Milliseconds of quiet after which a change is told: who writes a file does so in more than one step. */
const QUIET_MS = 20;
/** Milliseconds after which it is told all the same. */
const UNREST_MS = 200;
/** Milliseconds after which watching is tried again, and a change is told. */
const RETRY_MS = 5000;

/** Watches paths until it is disposed. */
export class FileWatch implements Disposable {
  /** Those of this process. */
  static readonly #all = new Set<FileWatch>();
  /** Somebody's paths are to be followed anew. */
  static #stale = false;
  static #renewing = false;

  #watcher: Deno.FsWatcher | undefined;
  /** Resolves when the watcher has ended. */
  #ended: Promise<void> | undefined;
  #timer: Timer | undefined;
  /** When the first change came that was not told. */
  #since: number | undefined;
  #trail = new Trail([]);
  readonly #paths: readonly string[];
  /** Why nothing is noticed now. */
  #refused: string | undefined;
  /** Directories on the way that cannot be watched. */
  #unreadable = "";

  /** @param changed Told after a change, once things are quiet. */
  constructor(readonly paths: readonly string[], readonly changed: () => void, readonly clock: Clock = systemClock) {
    this.#paths = paths.map((path) => path.startsWith("/") ? path : `${Deno.cwd()}/${path}`);
    FileWatch.#all.add(this);
    // While the others end it must not begin; it does with them.
    if (FileWatch.#renewing) FileWatch.#stale = true;
    else this.#start();
  }

  [Symbol.dispose](): void {
    FileWatch.#all.delete(this);
    this.#stop();
  }

  /** All follow their paths anew. It does not fail. */
  static async #renew(): Promise<void> {
    FileWatch.#stale = true;
    if (FileWatch.#renewing) return;
    FileWatch.#renewing = true;
    while (FileWatch.#stale) {
      FileWatch.#stale = false;
      for (const watch of FileWatch.#all) watch.#stop();
      await Promise.all([...FileWatch.#all].map((watch) => watch.#ended));
      for (const watch of FileWatch.#all) watch.#start();
      for (const watch of FileWatch.#all) watch.#tell();
    }
    FileWatch.#renewing = false;
  }

  #start(): void {
    this.#trail = new Trail(this.#paths);
    const { readable, others } = this.#trail.directories;
    this.#tellUnreadable(others.join(", "));
    try {
      const watcher = this.#watcher = Deno.watchFs(readable, { recursive: false });
      this.#ended = this.#run(watcher).catch((error: Error) => {
        if (this.#watcher === watcher) this.#failed(error);
      });
    } catch (error) {
      return this.#failed(error as Error);
    }
    if (this.#refused !== undefined) log.info("changes of {paths} are noticed at once again", { paths: this.#list() });
    this.#refused = undefined;
    if (!this.#trail.equals(new Trail(this.#paths))) this.#noticed();
  }

  #stop(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#timer?.cancel();
    this.#since = undefined;
  }

  #failed({ message }: Error): void {
    this.#stop();
    if (this.#refused !== message) {
      log.error("changes of {paths} cannot be watched: {reason}; they are looked for every {seconds} s", {
        paths: this.#list(),
        reason: message,
        seconds: RETRY_MS / 1000,
      });
    }
    this.#refused = message;
    this.#renewAfter(RETRY_MS);
  }

  async #run(watcher: Deno.FsWatcher): Promise<void> {
    for await (const { kind, paths, flag } of watcher) {
      // What came before it was closed may come after.
      if (this.#watcher !== watcher) return;
      // "rescan": there were too many events, and some are lost.
      if (flag === "rescan" || (kind !== "access" && paths.some((path) => this.#concerns(path)))) this.#noticed();
    }
  }

  #noticed(): void {
    const now = this.clock.now();
    this.#since ??= now;
    this.#renewAfter(Math.max(0, Math.min(QUIET_MS, this.#since + UNREST_MS - now)));
  }

  #renewAfter(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.clock.after(ms, () => {
      FileWatch.#renew().catch(tellBug);
    });
  }

  /** May an event for this path change what ours hold? */
  #concerns(path: string): boolean {
    return this.#trail.names.has(path) || this.#trail.whole.has(dirname(path));
  }

  #tell(): void {
    try {
      this.changed();
    } catch (error) {
      tellBug(error);
    }
  }

  #tellUnreadable(directories: string): void {
    if (directories !== "" && this.#unreadable !== directories) {
      log.warn("changes in {directories} are not noticed: there is no permission to read them", { directories });
    }
    this.#unreadable = directories;
  }

  #list(): string {
    return this.paths.join(", ");
  }
}

function tellBug(error: unknown): void {
  log.error("a bug of csvn's: {error}", { error });
}
