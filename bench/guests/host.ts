/**
 * The host's side of a guests' bench: a network namespace of its own, and programs in it.
 *
 * @module
 */

import { join } from "@std/path";
import { ensureHostTools } from "../../tools/testbed/host.ts";
import { capture, type Output, tailOf } from "../../tools/testbed/process.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";

/** Something on the host or in a guest went wrong: what, and where to look. */
export class BenchFailure extends Error {}

/** Namespaces of runs that were killed. */
async function removeStale(): Promise<void> {
  const { stdout } = await capture(["ip", "netns", "list"]);
  for (const [name, pid] of stdout.matchAll(/^csvn-bench-\w+-(\d+)/gm)) {
    const lives = await Deno.stat(`/proc/${pid}`).then(() => true, () => false);
    if (!lives) await capture(["ip", "netns", "del", name]);
  }
}

/** A network namespace with nothing but lo in it, and a directory for sockets and logs. Disposing it ends its programs. */
export class HostSide implements AsyncDisposable {
  readonly #children = new AsyncDisposableStack();

  private constructor(readonly namespace: string, readonly directory: string) {}

  /** Make one. */
  static async make(name: string): Promise<HostSide> {
    await ensureHostTools(["ip", "iperf3", "setpriv"], stderrProgress);
    await removeStale();
    const host = new HostSide(`csvn-bench-${name}-${Deno.pid}`, await Deno.makeTempDir({ prefix: "csvn-bench-" }));
    await host.ip(["netns", "add", host.namespace]);
    await host.run("ip link set lo up");
    return host;
  }

  /** A path in its directory. */
  path(name: string): string {
    return join(this.directory, name);
  }

  /** `ip` outside of the namespace. */
  async ip(args: readonly string[]): Promise<void> {
    const { code, stderr } = await capture(["ip", ...args]);
    if (code !== 0) throw new BenchFailure(`ip ${args.join(" ")}: ${stderr.trim()}`);
  }

  /** Run a shell command in the namespace; it must succeed. */
  async run(command: string): Promise<Output> {
    const output = await capture(["ip", "netns", "exec", this.namespace, "sh", "-c", command]);
    if (output.code !== 0) throw new BenchFailure(`${command}: ${output.stderr.trim()}`);
    return output;
  }

  /** Start a program in the namespace, its output in a file; it ends with this object, or when the returned function is called. */
  start(name: string, command: readonly string[]): () => Promise<void> {
    const log = this.path(`${name}.log`);
    const child = new Deno.Command("ip", {
      args: [
        ...["netns", "exec", this.namespace, "setpriv", "--pdeathsig", "KILL", "--"],
        ...["sh", "-c", 'log=$1; shift; exec "$@" >"$log" 2>&1 </dev/null', "sh", log, ...command],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    let ended = false;
    child.status.then(() => ended = true);
    const stop = async (): Promise<void> => {
      if (!ended) child.kill("SIGTERM");
      await child.status;
    };
    this.#children.defer(stop);
    return stop;
  }

  /** Wait for a file that a program makes, such as its socket. */
  async appears(name: string, by: string): Promise<void> {
    for (const end = Date.now() + 30_000; Date.now() < end;) {
      if (await Deno.stat(this.path(name)).then(() => true, () => false)) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new BenchFailure(`${by} did not start: ${await tailOf(this.path(`${by}.log`))}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#children.disposeAsync();
    await this.ip(["netns", "del", this.namespace]);
    await Deno.remove(this.directory, { recursive: true });
  }
}
