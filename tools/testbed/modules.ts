/** Which kernel module files a guest needs, in the order of loading. */

/** Maps module names to files and files to what they depend on. */
export interface ModuleIndex {
  /** Path below the modules' directory by module name (underscores). */
  paths: Map<string, string>;
  /** Direct and indirect dependencies by path, as in modules.dep. */
  dependencies: Map<string, string[]>;
}

function nameOf(path: string): string {
  const file = path.slice(path.lastIndexOf("/") + 1);
  return file.replace(/\.ko(\.(xz|zst|gz))?$/, "").replaceAll("-", "_");
}

/** Parse `modules.dep`. */
export function parseModulesDep(text: string): ModuleIndex {
  const index: ModuleIndex = { paths: new Map(), dependencies: new Map() };
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon < 0) continue;
    const path = line.slice(0, colon);
    const rest = line.slice(colon + 1).split(/\s+/).filter((w) => w !== "");
    index.paths.set(nameOf(path), path);
    index.dependencies.set(path, rest);
  }
  return index;
}

/**
 * Files of these modules and of all that they depend on, dependencies first.
 * A name without a file is built in, or not there, and is passed over.
 */
export function resolveModules(
  index: ModuleIndex,
  names: readonly string[],
): string[] {
  const order = new Set<string>();
  for (const name of names) {
    const path = index.paths.get(name);
    if (path === undefined) continue;
    // modules.dep lists what is needed first last.
    for (const needed of (index.dependencies.get(path) ?? []).toReversed()) {
      order.add(needed);
    }
    order.add(path);
  }
  return [...order];
}
