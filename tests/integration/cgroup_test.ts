/**
 * Ports in control groups, on the kernel's own: what there is of version 2 here. Which controllers it has, does not matter.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Switch } from "../../src/host/switch.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { run } from "../support/program.ts";
import { SwitchProcess } from "../support/switch_process.ts";
import { until } from "../support/until.ts";

/** Where a group of version 2 may be made; undefined: nowhere. */
async function root(): Promise<string | undefined> {
  for (const [, path] of (await Deno.readTextFile("/proc/mounts")).matchAll(/^\S+ (\S+) cgroup2 /gm)) {
    try {
      const made = await Deno.makeTempDir({ dir: path!, prefix: "csvn-test-" });
      await Deno.remove(made);
      return path;
    } catch {
      // It is another's.
    }
  }
  return undefined;
}

const where = await root();
const processes = async (group: string): Promise<number[]> =>
  (await Deno.readTextFile(`${group}/cgroup.procs`)).trim().split("\n").filter((line) => line !== "").map(Number);
const left = where === undefined ? " (left out: no control groups of version 2 to write to)" : "";

Deno.test({
  name: `each VM's port is in a group of its own, and that goes with it${left}`,
  ignore: where === undefined,
  fn: async () => {
    const group = await Deno.makeTempDir({ dir: where!, prefix: "csvn-test-" });
    try {
      await using net = await SwitchProcess.start(["web", "db"], ["--no-outside", "--cgroup", group]);
      await using db = await FakeDriver.boot(net.socket("db"));
      {
        await using web = await FakeDriver.boot(net.socket("web"));
        const inside: number[] = [];
        for (const name of ["web", "db"]) {
          const [pid, ...more] = await until("its port", async () => {
            const found = await processes(`${group}/${name}`).catch(() => []);
            return found.length > 0 && found;
          });
          assertEquals([more, await Deno.readTextFile(`/proc/${pid}/comm`)], [[], "csvn-port\n"]);
          inside.push(pid!);
        }
        assert(inside[0] !== inside[1]);
        await db.listen(80);
        await web.mustConnect(db.address, 80);
      }
      await until("its group is gone", () => Deno.stat(`${group}/web`).then(() => false, () => true));
      assertEquals((await processes(`${group}/db`)).length, 1);
    } finally {
      await until("all groups are empty", async () => {
        for (const { name, isDirectory } of Deno.readDirSync(group)) {
          if (isDirectory) await Deno.remove(`${group}/${name}`).catch(() => {});
        }
        return await Deno.remove(group).then(() => true, () => false);
      });
    }
  },
});

Deno.test({
  name: `a switch in a program takes its ports' groups with it${left}`,
  ignore: where === undefined,
  fn: async () => {
    const cgroup = await Deno.makeTempDir({ dir: where!, prefix: "csvn-test-" });
    const directory = await Deno.makeTempDir({ prefix: "csvn-cgroup-" });
    try {
      const socket = `${directory}/web`;
      {
        await using stack = new AsyncDisposableStack();
        // The driver is there when the switch goes.
        const csvn = await Switch.start({ vms: [{ name: "web", socket }], cgroup });
        stack.use(await FakeDriver.boot(socket));
        stack.use(csvn);
        await until("its port", async () => (await processes(`${cgroup}/web`).catch(() => [])).length > 0);
      }
      assertEquals([...Deno.readDirSync(cgroup)].filter(({ isDirectory }) => isDirectory), []);
    } finally {
      for (const { name, isDirectory } of Deno.readDirSync(cgroup)) {
        if (isDirectory) await Deno.remove(`${cgroup}/${name}`);
      }
      await Deno.remove(cgroup);
      await Deno.remove(directory, { recursive: true });
    }
  },
});

Deno.test("what is no control group is said to be none", async () => {
  const directory = await Deno.makeTempDir({ prefix: "csvn-cgroup-" });
  try {
    const ended = await run(["--socket", `${directory}/s`, "--cgroup", `${directory}/group`]);
    assertEquals([ended.code, ended.stdout], [1, ""]);
    assert(
      ended.stderr.includes(`csvn: cannot write "" to ${directory}/group/cgroup.procs: ENOENT`),
      ended.stderr,
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
