/**
 * Processes that nothing can end: frozen by the cgroup freezer, in its first version, which lets a frozen one not even die. What is frozen waits
 * uninterruptibly, as in a system call on a file whose server is silent.
 *
 * @module
 */

import { until } from "./until.ts";

const ROOT = "/sys/fs/cgroup/freezer";

/** Why it cannot be had here; undefined: it can. */
export function noFreezer(): string | undefined {
  try {
    const probe = Deno.makeTempDirSync({ dir: ROOT, prefix: "csvn-test-" });
    Deno.removeSync(probe);
    return undefined;
  } catch (error) {
    return `there is no cgroup freezer of version 1 to write to: ${(error as Error).message}`;
  }
}

/** A frozen process; disposing this thaws it. */
export class Frozen implements AsyncDisposable {
  #thawed = false;

  private constructor(readonly pid: number, readonly group: string) {}

  /** Freeze one. */
  static async freeze(pid: number): Promise<Frozen> {
    const group = await Deno.makeTempDir({ dir: ROOT, prefix: "csvn-test-" });
    const frozen = new Frozen(pid, group);
    await Deno.writeTextFile(`${group}/cgroup.procs`, `${pid}`);
    await Deno.writeTextFile(`${group}/freezer.state`, "FROZEN");
    await until("it is frozen", async () => await Deno.readTextFile(`${group}/freezer.state`) === "FROZEN\n");
    return frozen;
  }

  /** Let it go on, or die. */
  async thaw(): Promise<void> {
    if (this.#thawed) return;
    this.#thawed = true;
    await Deno.writeTextFile(`${this.group}/freezer.state`, "THAWED");
    await Deno.writeTextFile(`${ROOT}/cgroup.procs`, `${this.pid}`).catch(() => {});
    await until("its group is empty", () => Deno.remove(this.group).then(() => true, () => false));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.thaw();
  }
}
