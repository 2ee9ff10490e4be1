/**
 * The switch dies: its ports answer their front-ends, each as long as there is one.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { FakeFrontEnd } from "../support/fake_front_end.ts";
import { SwitchProcess } from "../support/switch_process.ts";
import { until } from "../support/until.ts";

/** The ports that a switch has started: whose parent it is. */
async function portsOf({ child }: SwitchProcess): Promise<number[]> {
  const found: number[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name) || !await isPort(name)) continue;
    const stat = await Deno.readTextFile(`/proc/${name}/stat`).catch(() => "");
    const [, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (Number(parent) === child.pid) found.push(Number(name));
  }
  return found;
}

/** Is a process a port, and lives? */
async function isPort(pid: number | string): Promise<boolean> {
  // Where its program lies is told to nobody; and one that has ended may not have been waited for.
  return /\(csvn-port\) [^ZX]/.test(await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => ""));
}

for (const [signal, stopped] of [["SIGKILL", false], ["SIGKILL", true], ["SIGTERM", false]] as const) {
  Deno.test(`a front-end is answered after ${signal}${stopped ? " of a switch that did not read" : ""}`, async () => {
    await using net = await SwitchProcess.start(["one"]);
    let port: number | undefined;
    {
      await using frontEnd = new FakeFrontEnd(net.socket("one"));
      await frontEnd.realize();
      const ports = await portsOf(net);
      assertEquals(ports.length, 1);
      port = ports[0]!;
      const told = [await frontEnd.ask(1), await frontEnd.ask(15), await frontEnd.ask(17), await frontEnd.ask(44)];
      const config = await frontEnd.config();
      let late: Promise<Uint8Array> | undefined;
      if (stopped) {
        // A request that is on its way when the switch dies.
        net.signal("SIGSTOP");
        late = frontEnd.ask(17);
      }
      await net.kill(signal);
      if (late) assertEquals(await late, told[2]);
      assertEquals(
        [await frontEnd.ask(1), await frontEnd.ask(15), await frontEnd.ask(17), await frontEnd.ask(44)],
        told,
      );
      assertEquals(await frontEnd.config(), config);
      // What is asked in a device's life: memory, and the queues' beginning and end.
      await frontEnd.setMemory();
      await frontEnd.enable(true);
      await frontEnd.stop();
      assertEquals(await isPort(port), true);
    }
    await until("the port's end", async () => !await isPort(port));
  });
}

Deno.test("a port ends with its front-end, and the switch goes on", async () => {
  await using net = await SwitchProcess.start(["one"]);
  for (let i = 0; i < 3; i++) {
    await using frontEnd = new FakeFrontEnd(net.socket("one"));
    await frontEnd.realize();
    assertEquals((await portsOf(net)).length, 1);
    await frontEnd[Symbol.asyncDispose]();
    await until("its port's end", async () => (await portsOf(net)).length === 0);
  }
});

Deno.test("a port that is killed is its VM's loss, and the log says how it ended", async () => {
  await using net = await SwitchProcess.start(["one", "two"]);
  await using one = new FakeFrontEnd(net.socket("one"));
  await one.realize();
  const [port] = await portsOf(net);
  await using two = new FakeFrontEnd(net.socket("two"));
  await two.realize();
  Deno.kill(port!, "SIGKILL");
  await until("the line", async () => (await Deno.readTextFile(net.log)).includes("its port was ended by signal 9"));
  assertEquals((await two.ask(1)).length, 8);
  await using again = new FakeFrontEnd(net.socket("one"));
  await again.realize();
});

/** What the kernel says of a process's rights, by its name for each: the last of several values. */
async function statusOf(pid: number): Promise<Map<string, string>> {
  const lines = (await Deno.readTextFile(`/proc/${pid}/status`)).split("\n");
  return new Map(lines.map((line) => [line.split(":\t")[0]!, line.split(/\s+/).at(-1)!]));
}

Deno.test("ports have no rights: users of their own where the switch is root, and no way to files or other calls", async () => {
  await using net = await SwitchProcess.start(["one", "two"], ["--no-outside", "--log-level", "debug"]);
  await using one = new FakeFrontEnd(net.socket("one"));
  await using two = new FakeFrontEnd(net.socket("two"));
  await Promise.all([one.realize(), two.realize()]);
  const ports = await portsOf(net);
  assertEquals(ports.length, 2);
  const [own, ...theirs] = await Promise.all([net.child.pid, ...ports].map(statusOf));
  assert(own);
  const isRoot = own.get("Uid") === "0";
  // In a user namespace of a few users there are none for ports.
  const ownUsers = isRoot && /^ *0 +0 +4294967295$/m.test(await Deno.readTextFile("/proc/self/uid_map"));
  // Sanitizers make calls of their own.
  const isFiltered = !/\/(address|thread)[^/]*\/[^/]*$/.test(Deno.env.get("CSVN_LIBRARY") ?? "");
  // Of all that root has, only low ports.
  const rights = BigInt(`0x${own.get("CapEff")}`) & 1n << 10n;
  theirs.forEach((status, i) => {
    assertEquals(status.get("NoNewPrivs"), "1");
    assertEquals(status.get("Seccomp"), isFiltered ? "2" : "0");
    for (const name of ["CapEff", "CapPrm"]) assertEquals(BigInt(`0x${status.get(name)}`), rights, name);
    for (const name of ["CapInh", "CapAmb"]) assertEquals(BigInt(`0x${status.get(name)}`), 0n, name);
    const user = ownUsers ? String(2_000_000_000 + ports[i]!) : own.get("Uid");
    assertEquals(status.get("Uid"), user);
    assertEquals(status.get("Gid"), ownUsers ? user : own.get("Gid"));
    if (isRoot) assertEquals(status.get("Groups"), "");
  });
  const log = await Deno.readTextFile(net.log);
  assertEquals(log.split("the switch's user").length - 1, ownUsers ? 0 : 1);
  assertEquals(log.split("are jailed as well as can be").length - 1, isFiltered && ownUsers === isRoot ? 0 : 1, log);
});
