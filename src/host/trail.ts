/**
 * The way that the system goes from a path to what it leads to: through directories and symbolic links, as far as there are any.
 *
 * @module
 */

import { dirname } from "@std/path";

/** Links on the way to one file; Linux follows no more. */
const LINKS_MAX = 40;

/** The ways to some paths, as they are now. */
export class Trail {
  /** Directories in which a name is looked up, and those that paths lead to; none of them is reached by a link. */
  readonly #directories = new Set<string>();
  /** What is looked up, be it there or not: links, directories and files on the way. */
  readonly names = new Set<string>();
  /** Directories that paths lead to: every file in them counts, and what it leads to. */
  readonly whole = new Set<string>();

  /** @param paths Absolute ones. */
  constructor(paths: readonly string[]) {
    for (const path of paths) {
      const end = this.#follow(path);
      if (end === undefined || this.whole.has(end)) continue;
      this.#directories.add(end);
      this.whole.add(end);
      for (const link of linksIn(end)) this.#follow(link);
    }
  }

  /** Directories on the way, by whether they may be read: of others the system tells nothing. */
  get directories(): { readonly readable: string[]; readonly others: string[] } {
    const { readable = [], others = [] } = Object.groupBy(
      this.#directories,
      (directory) => isReadable(directory) ? "readable" : "others",
    );
    return { readable, others };
  }

  /** Is it the same way? */
  equals(other: Trail): boolean {
    return same(this.names, other.names) && same(this.whole, other.whole) &&
      same(this.#directories, other.#directories);
  }

  /** Follow a path. What it ends in, if that is a directory. */
  #follow(path: string): string | undefined {
    const left = namesOf(path);
    let directory = "/";
    let links = 0;
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      if (name === "..") {
        directory = dirname(directory);
        continue;
      }
      this.#directories.add(directory);
      const entry = directory === "/" ? `/${name}` : `${directory}/${name}`;
      this.names.add(entry);
      const { isDirectory, target } = look(entry);
      if (isDirectory) {
        directory = entry;
      } else {
        if (target === undefined || ++links > LINKS_MAX) return undefined;
        left.unshift(...namesOf(target));
        if (target.startsWith("/")) directory = "/";
      }
    }
    return directory;
  }
}

function namesOf(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}

/** Is it a directory, or a link, and to what? What may not be seen is neither. */
function look(path: string): { readonly isDirectory: boolean; readonly target?: string } {
  try {
    const { isDirectory, isSymlink } = Deno.lstatSync(path);
    return isSymlink ? { isDirectory, target: Deno.readLinkSync(path) } : { isDirectory };
  } catch {
    return { isDirectory: false };
  }
}

function linksIn(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].filter(({ isSymlink }) => isSymlink).map(({ name }) =>
      `${directory}/${name}`
    );
  } catch {
    return [];
  }
}

function isReadable(directory: string): boolean {
  try {
    using _ = Deno.openSync(directory);
    return true;
  } catch {
    return false;
  }
}

function same(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && a.isSubsetOf(b);
}
