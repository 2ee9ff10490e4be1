/**
 * Network namespaces of a test's own: `switch`, in which the switch runs, and `outside`, a machine on its network. Nothing of the
 * host's own network is touched.
 *
 * @module
 */

import { ensureHostTools } from "../../tools/testbed/host.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { loggedDeno, withoutPreload } from "./preload.ts";

/** Addresses of the two ends of the cable. */
export const SWITCH = { v4: "198.18.77.1", v6: "fd77:18::1" };
export const OUTSIDE = { v4: "198.18.77.2", v6: "fd77:18::2" };

async function ip(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("ip", {
    args,
    env: withoutPreload,
    stdout: "piped",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(`ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

/** The namespaces; disposing them removes them. */
export class Namespaces implements AsyncDisposable {
  private constructor(readonly id: string) {}

  /** Make them, with a cable between them. */
  static async make(): Promise<Namespaces> {
    await ensureHostTools(["curl", "ip", "iperf3"], stderrProgress);
    const made = new Namespaces(`${Deno.pid}`);
    const [inside, outside] = [made.name("switch"), made.name("outside")];
    await ip("netns", "add", inside);
    await ip("netns", "add", outside);
    await ip("-n", inside, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", outside);
    for (const [name, own] of [[inside, SWITCH], [outside, OUTSIDE]] as const) {
      await ip("-n", name, "link", "set", "lo", "up");
      await ip("-n", name, "addr", "add", `${own.v4}/24`, "dev", "cable");
      await ip("-n", name, "addr", "add", `${own.v6}/64`, "dev", "cable", "nodad");
      await ip("-n", name, "link", "set", "cable", "up");
    }
    // Somewhere to send what never arrives.
    await ip("-n", inside, "route", "add", "198.18.99.0/24", "via", OUTSIDE.v4);
    return made;
  }

  /** The name of one of them. */
  name(which: "switch" | "outside"): string {
    return `csvn-${which}-${this.id}`;
  }

  /** A Deno program in one of them, its output in a file. */
  deno(which: "switch" | "outside", args: readonly string[], log: string): Deno.Command {
    return new Deno.Command("ip", {
      args: ["netns", "exec", this.name(which), "setpriv", "--pdeathsig", "TERM", ...loggedDeno(log, args)],
      env: withoutPreload,
    });
  }

  /** A program in one of them, which ends with this process. */
  command(which: "switch" | "outside", args: readonly string[]): Deno.Command {
    return new Deno.Command("ip", {
      args: ["netns", "exec", this.name(which), "setpriv", "--pdeathsig", "KILL", ...args],
      env: withoutPreload,
      stdout: "null",
      stderr: "null",
    });
  }

  /** Run a shell command in one of them. */
  async run(which: "switch" | "outside", command: string): Promise<{ code: number; stdout: string; stderr: string }> {
    const { code, stdout, stderr } = await new Deno.Command("ip", {
      args: ["netns", "exec", this.name(which), "sh", "-c", command],
      env: withoutPreload,
      stdout: "piped",
      stderr: "piped",
    }).output();
    const text = new TextDecoder();
    return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const which of ["switch", "outside"] as const) await ip("netns", "del", this.name(which));
  }
}
