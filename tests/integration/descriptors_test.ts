/**
 * A switch that runs out of descriptors: it says so once, its API answers, nothing that waits is lost, and it recovers by itself.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { SwitchStatus } from "../../src/host/switch.ts";
import { ask } from "../../src/cli/api.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { Running } from "../support/program.ts";
import { until } from "../support/until.ts";

const HOSTNAME = "127.77.1.11";
const CLIENTS = 120;

/** As its own user, which a port of root's has: that may, also where root has not all its rights. */
async function limit(pid: number, descriptors: number): Promise<void> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const [uid, gid] = ["Uid", "Gid"].map((name) => new RegExp(`^${name}:\\t(\\d+)`, "m").exec(status)![1]);
  const asUser = Deno.uid() === 0 ? [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"] : [];
  const args = [...asUser, "prlimit", "--pid", `${pid}`, `--nofile=${descriptors}:`];
  const { success, stderr } = await new Deno.Command("setpriv", { args, stderr: "piped" }).output();
  assert(success, new TextDecoder().decode(stderr));
}

const status = (api: string): Promise<SwitchStatus> => ask<SwitchStatus>(api, "/v1/status");

/** The descriptors of a process. */
const countOf = (pid: number): number => [...Deno.readDirSync(`/proc/${pid}/fd`)].length;

/** The only port of a switch: its child. */
async function portOf(pid: number): Promise<number> {
  const ports = new Set<number>();
  for (const { name: task } of Deno.readDirSync(`/proc/${pid}/task`)) {
    const children = (await Deno.readTextFile(`/proc/${pid}/task/${task}/children`)).split(" ").filter((text) =>
      text !== ""
    );
    for (const child of children) {
      if (await Deno.readTextFile(`/proc/${child}/comm`) === "csvn-port\n") ports.add(Number(child));
    }
  }
  assertEquals(ports.size, 1);
  return [...ports][0]!;
}

function freePort(): number {
  using probe = Deno.listen({ hostname: HOSTNAME, port: 0 });
  return probe.addr.port;
}

Deno.test("a switch without descriptors lets connections wait, answers on its API, and recovers", async (t) => {
  const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  const [socket, api, port] = [`${directory}/s`, `${directory}/api`, freePort()];
  const program = stack.use(
    new Running(["--socket", socket, "--api", api, "--publish", `${HOSTNAME}:${port}=vm1:80`]),
  );
  await program.says(`listening on ${socket}`);
  const vm = stack.use(await FakeDriver.boot(socket));
  await vm.listen(80, 80, 1000);
  await program.says("is published");
  const { descriptors } = await until("the API", () => status(api).catch(() => undefined), 20_000);

  await t.step("connections to a published port", async () => {
    // They are its VM's port's, and so is what they lack.
    const own = await portOf(program.pid);
    await limit(own, countOf(own) + 100);
    const clients = await Promise.all(
      Array.from({ length: CLIENTS }, () => Deno.connect({ hostname: HOSTNAME, port })),
    );
    await program.says("out of descriptors");
    const open = await until("those that were accepted", async () => (await status(api)).circuits.open, 20_000);
    assert(open < CLIENTS, `${open} were accepted`);
    assertEquals((await status(api)).plane.rests, 1);
    let served = 0;
    while (served < CLIENTS) {
      const { circuit } = await vm.accept();
      await circuit.close();
      served++;
    }
    for (const client of clients) {
      assertEquals(await client.read(new Uint8Array(1)), null, "served, and not reset");
      client.close();
    }
    await until("nothing left", async () => (await status(api)).circuits.open === 0, 20_000);
    assertEquals(program.stderr.split("out of descriptors").length, 2, "it is said once");
    await program.says("there are descriptors again");
  });

  await t.step("connections to the API itself", async () => {
    await limit(program.pid, descriptors + 40);
    const idle: Deno.Conn[] = [];
    for (let i = 0; i < 100; i++) {
      // Those beyond its backlog are refused.
      const connection = await Deno.connect({ transport: "unix", path: api }).catch(() => undefined);
      if (connection) idle.push(connection);
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    for (const connection of idle) connection.close();
    await limit(program.pid, descriptors + 400);
    await until("the API", () => status(api).then(() => true, () => false), 30_000);
  });
});
