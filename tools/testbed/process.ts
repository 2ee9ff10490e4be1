import { TestbedError } from "./errors.ts";

/** What a finished program wrote and how it ended. */
export interface Output {
  /** Exit status; 128 + signal if a signal ended it. */
  code: number;
  /** Everything on standard output. */
  stdout: string;
  /** Everything on standard error. */
  stderr: string;
}

/** Run a program and collect its output; throws if it cannot be started. */
export async function capture(
  command: readonly string[],
  options: { env?: Record<string, string>; cwd?: string } = {},
): Promise<Output> {
  const [program, ...args] = command;
  const output = await new Deno.Command(program!, {
    args,
    stdin: "null",
    ...options,
  }).output();
  const decoder = new TextDecoder();
  return {
    code: output.code,
    stdout: decoder.decode(output.stdout),
    stderr: decoder.decode(output.stderr),
  };
}

/** The last `lines` lines of a file, or a note if there is none. */
export async function tailOf(path: string, lines = 20): Promise<string> {
  try {
    const text = await Deno.readTextFile(path);
    const all = text.replaceAll("\r", "").trimEnd().split("\n");
    return all.slice(-lines).join("\n");
  } catch {
    return `(no log at ${path})`;
  }
}

/**
 * Run a program with all its output appended to a log file.
 *
 * Throws a {@link TestbedError} that names `what`, the log and its tail if the
 * program fails.
 */
export async function runLogged(
  what: string,
  command: readonly string[],
  options: { log: string; env?: Record<string, string>; cwd?: string },
): Promise<void> {
  const { log, ...rest } = options;
  // The shell redirects straight into the file: no pipe to pump, and what was
  // written before a crash is there.
  // It is told to stop if this process is killed.
  const wrapper = findProgram("setpriv") === undefined ? [] : ["setpriv", "--pdeathsig", "TERM", "--"];
  const script = 'log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null';
  const { code } = await capture(
    ["sh", "-c", script, "sh", log, ...wrapper, ...command],
    rest,
  );
  if (code !== 0) {
    const tail = await tailOf(log);
    throw new TestbedError(
      `${what} failed (status ${code}); its log is ${log}, which ends:\n${tail}`,
    );
  }
}

/** Is there a program of this name on the path, or in the system's sbin? */
export function findProgram(name: string): string | undefined {
  const path = (Deno.env.get("PATH") ?? "").split(":");
  for (const dir of [...path, "/usr/sbin", "/sbin", "/usr/bin", "/bin"]) {
    if (dir === "") continue;
    try {
      const info = Deno.statSync(`${dir}/${name}`);
      if (info.isFile && ((info.mode ?? 0) & 0o111) !== 0) {
        return `${dir}/${name}`;
      }
    } catch {
      // Not in this directory.
    }
  }
  return undefined;
}

/** Remove a tree if it is there, without crossing into another file system. */
export async function removeTree(path: string): Promise<void> {
  // rm and not Deno.remove: a rootfs whose build was interrupted may have
  // something mounted inside.
  const { code, stderr } = await capture(
    ["rm", "-rf", "--one-file-system", "--", path],
  );
  if (code !== 0) {
    throw new TestbedError(`cannot remove ${path}: ${stderr.trim()}`);
  }
}
