/**
 * A switch in a process of its own, which may be killed.
 *
 * @module
 */

import { permissions, project } from "./permissions.ts";
import { loggedDeno, withoutPreload } from "./preload.ts";
import { until } from "./until.ts";

/** A running switch; disposing it kills it. */
export class SwitchProcess implements AsyncDisposable {
  #ended = false;

  private constructor(readonly child: Deno.ChildProcess, readonly directory: string, readonly log: string) {
    child.status.then(() => this.#ended = true);
  }

  /** Start one for these VMs, each with a socket of its own in a new directory. */
  static async start(names: readonly string[], args: readonly string[] = ["--no-outside"]): Promise<SwitchProcess> {
    const directory = await Deno.makeTempDir({ prefix: "csvn-switch-" });
    const log = `${directory}/switch.log`;
    // Its output goes to a file: a pipe that nobody reads would stop it. It ends with this process, however that ends.
    const child = new Deno.Command("setpriv", {
      args: [
        ...["--pdeathsig", "KILL"],
        ...loggedDeno(log, [
          ...["run", ...permissions(), `${project}mod.ts`, ...args],
          ...names.flatMap((name) => ["--vm", `name=${name},socket=${directory}/${name}.sock`]),
        ]),
      ],
      cwd: project,
      env: withoutPreload,
    }).spawn();
    const started = new SwitchProcess(child, directory, log);
    try {
      await until(
        "the switch",
        async () => (await Deno.readTextFile(log).catch(() => "")).includes(`${names.at(-1)}.sock`),
        60_000,
      );
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
    return started;
  }

  /** Path of a VM's socket. */
  socket(name: string): string {
    return `${this.directory}/${name}.sock`;
  }

  /** Send it a signal. */
  signal(signal: Deno.Signal): void {
    if (!this.#ended) this.child.kill(signal);
  }

  /** End it, and wait until it has ended. */
  async kill(signal: Deno.Signal): Promise<void> {
    this.signal(signal);
    await this.child.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill("SIGKILL");
    await Deno.remove(this.directory, { recursive: true });
  }
}
