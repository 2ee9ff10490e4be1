/**
 * `deno task vm`: boot a guest and run a command, or a shell, in it.
 *
 * Standard output and standard error are the command's own; what this program
 * has to say goes to standard error.
 */
import { deadline } from "@std/async";
import { messageOf, TestbedError } from "./testbed/errors.ts";
import { Guest, type GuestCommand, GuestError } from "./testbed/guest.ts";
import { stderrProgress, step } from "./testbed/progress.ts";
import { parseVmOptions, USAGE, UsageError, type VmOptions } from "./testbed/vm_options.ts";

const SIGNALS: readonly [Deno.Signal, number][] = [
  ["SIGHUP", 1],
  ["SIGINT", 2],
  ["SIGTERM", 15],
];
/** Time for a guest's end on a signal, in milliseconds. */
const GRACE_MS = 3_000;

function write(
  stream: { writeSync(p: Uint8Array): number },
  text: string,
): void {
  const bytes = new TextEncoder().encode(text);
  for (let sent = 0; sent < bytes.length;) {
    sent += stream.writeSync(bytes.subarray(sent));
  }
}

/** Take input from ours until it ends or the command does. */
function forwardInput(command: GuestCommand): void {
  Deno.stdin.readable.pipeTo(command.stdin).catch(() => {});
}

/** Put the terminal into raw mode, and follow its size; undone on disposal. */
function attachTerminal(command: GuestCommand): Disposable {
  const resized = (): void => {
    command.resize(Deno.consoleSize());
  };
  Deno.stdin.setRaw(true);
  Deno.addSignalListener("SIGWINCH", resized);
  return {
    [Symbol.dispose](): void {
      Deno.removeSignalListener("SIGWINCH", resized);
      Deno.stdin.setRaw(false);
    },
  };
}

/** Run the command or the shell; its status. */
async function work(guest: Guest, exec: string | undefined): Promise<number> {
  const terminal = exec === undefined && Deno.stdin.isTerminal() &&
    Deno.stdout.isTerminal();
  const command = terminal
    ? guest.spawn("exec bash -l", { terminal: Deno.consoleSize() })
    : guest.spawn(exec ?? "exec bash", {
      stdin: !Deno.stdin.isTerminal(),
    });
  using _terminal = terminal ? attachTerminal(command) : undefined;
  if (terminal || !Deno.stdin.isTerminal()) forwardInput(command);
  // Neither end nor error of the command takes our own output away: there is something to be said still.
  const keep = { preventClose: true, preventAbort: true };
  try {
    await Promise.all([
      command.stdout.pipeTo(Deno.stdout.writable, keep),
      command.stderr.pipeTo(Deno.stderr.writable, keep),
    ]);
  } catch (error) {
    // Like any program whose reader has gone away.
    if (error instanceof Deno.errors.BrokenPipe) return 128 + 13;
    throw error;
  }
  return (await command.status).code;
}

/** Boot, work, end; the exit status. */
async function main(options: VmOptions, signal: AbortSignal): Promise<number> {
  const { exec } = options;
  const boot = (): Promise<Guest> => Guest.boot({ ...options.guest, signal, progress: stderrProgress });
  const telling = Deno.stderr.isTerminal();
  const guest = await (telling ? step(stderrProgress, "booting", boot) : boot());
  try {
    const code = await work(guest, exec);
    // The switch shall see a guest that leaves, not one that is cut off.
    await guest.shutdown();
    return code;
  } finally {
    await guest.kill();
  }
}

/** What went wrong, without what only a developer can read. */
function explain(error: unknown): string {
  const message = messageOf(error);
  if (!(error instanceof GuestError)) return message;
  return message.split("\n")[0]!.replace(/ ends:$/, "");
}

if (import.meta.main) {
  const abort = new AbortController();
  let running: Promise<number> | undefined;
  for (const [name, number] of SIGNALS) {
    Deno.addSignalListener(name, async () => {
      abort.abort();
      // Whatever still runs then dies with this process.
      if (running) await deadline(running, GRACE_MS).catch(() => {});
      Deno.exit(128 + number);
    });
  }
  try {
    const options = parseVmOptions(Deno.args);
    if (options.help) {
      write(Deno.stdout, USAGE);
      Deno.exit(0);
    }
    running = main(options, abort.signal);
    const code = await running;
    if (!abort.signal.aborted) Deno.exit(code);
  } catch (error) {
    if (!abort.signal.aborted) {
      write(Deno.stderr, `vm: ${explain(error)}\n`);
      if (
        !(error instanceof TestbedError || error instanceof GuestError) &&
        Deno.env.get("CSVN_DEBUG")
      ) {
        write(Deno.stderr, `${(error as Error).stack}\n`);
      }
      Deno.exit(error instanceof UsageError ? 2 : 1);
    }
  }
}
