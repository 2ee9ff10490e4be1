/**
 * Policy files: read from files and directories as a whole, with all errors at once.
 *
 * @module
 */

import { basename, join } from "@std/path";
import { type Policy, policyName } from "./model.ts";
import { type PolicyText, readPolicies } from "./read.ts";

/** Bytes of a file. */
const FILE_MAX = 1 << 20;
/** Files of a set. */
const FILES_MAX = 4096;
/** How many errors are told. */
const ERRORS_MAX = 200;

/** Policy files are wrong; the message has a line for each error, as `file:line:column: path: message`. */
export class PolicyError extends Error {
  override readonly name = "PolicyError";
}

/** Reads policy files, and remembers what it has read: a file that has not changed costs nothing when it is read again. */
export class PolicyFiles {
  #known = new Map<string, { readonly text: string; readonly read: PolicyText }>();

  /** @param paths Files, and directories whose `.yaml`, `.yml` and `.json` files are read, in the order of their names. */
  constructor(readonly paths: readonly string[]) {}

  /** Read all. @throws {PolicyError} with every error of every file. */
  async read(): Promise<Policy[]> {
    const errors: string[] = [];
    const files = await this.#files(errors);
    const known = new Map<string, { text: string; read: PolicyText }>();
    const policies: Policy[] = [];
    for (const file of files) {
      const text = await readText(file, errors);
      if (text === undefined) continue;
      const before = this.#known.get(file);
      const read = before?.text === text ? before.read : readPolicies(file, text);
      known.set(file, { text, read });
      for (const { line, column, message } of read.problems) errors.push(`${file}:${line}:${column}: ${message}`);
      // A file that is being written is empty for a moment; nobody means to open everything by it.
      if (read.problems.length === 0 && read.documents === 0) {
        errors.push(`${file}:1:1: holds no policy; to take its policies away, remove the file`);
      }
      policies.push(...read.policies);
    }
    this.#known = known;
    errors.push(...duplicates(policies));
    if (errors.length > 0) throw new PolicyError(cut(errors).join("\n"));
    return policies;
  }

  async #files(errors: string[]): Promise<string[]> {
    const found: string[] = [];
    for (const path of this.paths) {
      try {
        const files = (await Deno.stat(path)).isDirectory ? await list(path) : [path];
        if (files.length === 0) errors.push(`${path}: the directory has no .yaml, .yml or .json file`);
        found.push(...files);
      } catch (error) {
        errors.push(`${path}: ${why(error)}`);
      }
    }
    if (found.length > FILES_MAX) errors.push(`${found.length} policy files are too many: ${FILES_MAX} at most`);
    return [...new Set(found)].slice(0, FILES_MAX);
  }
}

function cut(errors: readonly string[]): string[] {
  if (errors.length <= ERRORS_MAX) return [...errors];
  return [...errors.slice(0, ERRORS_MAX), `and ${errors.length - ERRORS_MAX} more errors`];
}

async function list(directory: string): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(directory)) {
    if (!isDirectory && isPolicyFile(name)) files.push(join(directory, name));
  }
  return files.sort();
}

/** Is it one of a directory's policy files, by its name? */
export function isPolicyFile(path: string): boolean {
  return /^[^.].*\.(ya?ml|json)$/.test(basename(path));
}

async function readText(file: string, errors: string[]): Promise<string | undefined> {
  try {
    // Nothing is opened that could block, and no more is read than is allowed, even while it grows.
    const stat = await Deno.stat(file);
    if (!stat.isFile) {
      errors.push(`${file}: is not a file`);
      return undefined;
    }
    using handle = await Deno.open(file);
    const bytes = new Uint8Array(FILE_MAX + 1);
    let length = 0;
    while (length < bytes.length) {
      const n = await handle.read(bytes.subarray(length));
      if (n === null) break;
      length += n;
    }
    if (length <= FILE_MAX) return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length));
    errors.push(`${file}: is longer than ${FILE_MAX} bytes`);
  } catch (error) {
    errors.push(`${file}: ${error instanceof TypeError ? "is not UTF-8" : why(error)}`);
  }
  return undefined;
}

function why(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file or directory";
  if (error instanceof Deno.errors.PermissionDenied) return "no permission";
  return (error as Error).message;
}

function duplicates(policies: readonly Policy[]): string[] {
  const seen = new Map<string, Policy>();
  return policies.flatMap((policy) => {
    const key = `${policy.kind} ${policyName(policy)}`;
    const first = seen.get(key);
    seen.set(key, first ?? policy);
    if (!first) return [];
    const { line, column } = policy.position;
    return [
      `${policy.file}:${line}:${column}: metadata.name: ${key} is at ${first.file}:${first.position.line} already`,
    ];
  });
}
