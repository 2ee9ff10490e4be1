/**
 * Programs beside Deno, when that runs with a sanitizer's runtime (`make -C lib integration`): the runtime is for Deno alone, since with ThreadSanitizer's a shell does not start.
 *
 * @module
 */

/** The environment of programs that are not Deno. */
export const withoutPreload = { LD_PRELOAD: "" };

/** The command line of Deno with these arguments, whose output goes to a file. It is to be run {@linkcode withoutPreload}. */
export function loggedDeno(log: string, args: readonly string[]): string[] {
  const preload = Deno.env.get("LD_PRELOAD") ?? "";
  const shell = 'log=$1 preload=$2; shift 2; LD_PRELOAD=$preload exec "$@" >"$log" 2>&1';
  return ["sh", "-c", shell, "sh", log, preload, Deno.execPath(), ...args];
}
