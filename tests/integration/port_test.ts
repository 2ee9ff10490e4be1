/**
 * The switch dies: its ports answer their front-ends, each as long as there is one.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { portPath } from "../../src/ffi/library.ts";
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
  return await Deno.readLink(`/proc/${pid}/exe`).catch(() => "") === portPath();
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
