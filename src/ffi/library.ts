/**
 * Finding, building and opening the helper library. It is opened explicitly, never on import, and checked for its ABI version.
 *
 * @module
 */

import { dirname, fromFileUrl, join } from "@std/path";
import { ABI_VERSION } from "./abi.ts";
import { symbols } from "./symbols.ts";

/** The opened helper library. */
export type Library = Deno.DynamicLibrary<typeof symbols>;

/** The helper library could not be built or opened; the message says why and what to do. */
export class LibraryError extends Error {
  override readonly name = "LibraryError";
}

const folder = join(dirname(dirname(dirname(fromFileUrl(import.meta.url)))), "lib");

/** Where the built library lies by default. */
export const libraryPath: string = join(folder, "build", "libcsvn.so");

function newest(dir: string): number {
  let time = 0;
  for (const entry of Deno.readDirSync(dir)) {
    const path = join(dir, entry.name);
    if (entry.isDirectory) time = Math.max(time, newest(path));
    else time = Math.max(time, Deno.statSync(path).mtime?.getTime() ?? 0);
  }
  return time;
}

/** When a file was written last, in milliseconds; undefined: there is none. */
function written(path: string): number | undefined {
  try {
    return Deno.statSync(path).mtime?.getTime() ?? 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function isStale(path: string): boolean {
  const built = written(path);
  if (built === undefined) return true;
  return ["src", "brain", "janitor", "port", "include"].some((part) => newest(join(folder, part)) > built);
}

function build(): void {
  const advice =
    "install a C compiler and make (Debian: apt-get install gcc make libc6-dev), then run `deno task build`";
  let output: Deno.CommandOutput;
  try {
    output = new Deno.Command("make", { args: ["-s", "-C", folder], stdout: "piped", stderr: "piped" }).outputSync();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new LibraryError(`the helper library is not built, and there is no make to build it with: ${advice}`);
    }
    throw error;
  }
  if (output.success) return;
  const text = new TextDecoder().decode(output.stderr).trim();
  if (/(cc|gcc|clang)\S*: (command )?not found|No such file or directory.*\bcc\b|\bcc: No such file/.test(text)) {
    throw new LibraryError(`the helper library is not built, and there is no C compiler to build it with: ${advice}`);
  }
  throw new LibraryError(`building the helper library failed:\n${text}`);
}

/** Deno's permission, which one that runs in production need not have. */
function mayI(what: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(what).state === "granted";
}

/**
 * The library that is opened: what was asked for, or the environment's `CSVN_LIBRARY`, or {@linkcode libraryPath}. The environment is for development: it is not looked at
 * without Deno's permission.
 */
function chosen(path?: string): string {
  const variable = "CSVN_LIBRARY";
  return path ?? (mayI({ name: "env", variable }) ? Deno.env.get(variable) : undefined) ?? libraryPath;
}

/** The ports' program, which is built with the library; that of janitors is beside it. */
export function portPath(): string {
  return join(dirname(chosen()), "csvn-port");
}

/**
 * Open the helper library; build it first when it is missing or older than its sources, if Deno's permissions let `make` be run.
 *
 * @param path Another build of it, which is then not built here. Default: the environment's `CSVN_LIBRARY`, or
 * {@linkcode libraryPath}.
 * @throws {LibraryError} when it cannot be built or opened, or has another ABI version.
 */
export function openLibrary(path?: string): Library {
  const file = chosen(path);
  if (file === libraryPath && mayI({ name: "run", command: "make" }) && isStale(libraryPath)) build();
  else if (file === libraryPath && written(file) === undefined) {
    throw new LibraryError("the helper library is not built: run `deno task build`");
  }
  let library: Library;
  try {
    library = Deno.dlopen(file, symbols);
  } catch (error) {
    throw new LibraryError(`cannot open the helper library ${file}: ${(error as Error).message}`);
  }
  const version = library.symbols.csvn_abi_version();
  if (version !== ABI_VERSION) {
    library.close();
    throw new LibraryError(
      `the helper library ${file} has ABI version ${version}, but ${ABI_VERSION} is needed: run \`deno task build\``,
    );
  }
  return library;
}
