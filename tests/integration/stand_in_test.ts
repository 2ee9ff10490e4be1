/**
 * The switch dies: its stand-in answers the front-ends, as long as there are any.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { standInPath } from "../../src/ffi/library.ts";
import { FakeFrontEnd } from "../support/fake_front_end.ts";
import { SwitchProcess } from "../support/switch_process.ts";
import { until } from "../support/until.ts";

/** The stand-ins that a switch has started: whose parent it is. Others, of tests that run beside this one, come and go meanwhile. */
async function standInsOf({ child }: SwitchProcess): Promise<number[]> {
  const found: number[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name) || !await isStandIn(name)) continue;
    const stat = await Deno.readTextFile(`/proc/${name}/stat`).catch(() => "");
    const [, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (Number(parent) === child.pid) found.push(Number(name));
  }
  return found;
}

/** Is a process a stand-in, and lives? */
async function isStandIn(pid: number | string): Promise<boolean> {
  return await Deno.readLink(`/proc/${pid}/exe`).catch(() => "") === standInPath();
}

for (const [signal, stopped] of [["SIGKILL", false], ["SIGKILL", true], ["SIGTERM", false]] as const) {
  Deno.test(`a front-end is answered after ${signal}${stopped ? " of a switch that did not read" : ""}`, async () => {
    await using net = await SwitchProcess.start(["one"]);
    const [standIn, ...more] = await standInsOf(net);
    assertEquals([standIn !== undefined, more], [true, []]);
    {
      await using frontEnd = new FakeFrontEnd(net.socket("one"));
      await frontEnd.realize();
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
      assertEquals(await isStandIn(standIn!), true);
    }
    await until("the stand-in's end", async () => !await isStandIn(standIn!));
  });
}

Deno.test("a switch without front-ends leaves no stand-in", async () => {
  let standIns: number[];
  {
    await using net = await SwitchProcess.start(["one"]);
    standIns = await standInsOf(net);
    assertEquals(standIns.length, 1);
  }
  await until("its end", async () => !await isStandIn(standIns[0]!));
});
