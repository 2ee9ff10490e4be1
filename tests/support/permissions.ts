/**
 * Deno's permissions that a switch needs, as `deno task switch` has them.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import { openLibrary } from "../../src/ffi/library.ts";

/** Where the program and its library lie: its permissions are for paths relative to this. */
export const project = fromFileUrl(new URL("../../", import.meta.url));

/** What Deno is started with for a switch. Another library than the project's takes all permissions. */
export function permissions(): string[] {
  if (Deno.env.has("CSVN_LIBRARY")) return ["-A"];
  // With these it may not be built.
  openLibrary().close();
  const { tasks } = JSON.parse(Deno.readTextFileSync(`${project}deno.json`));
  const [deno, run, ...flags] = tasks.switch.command.split(" ");
  if (deno !== "deno" || run !== "run" || flags.pop() !== "mod.ts") throw new Error("that is no task for a switch");
  return [...flags, "--no-prompt"];
}
