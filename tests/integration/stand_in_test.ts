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

/** Processes of stand-ins that live, of this copy of csvn: others may be tested beside it. */
async function standIns(): Promise<number[]> {
  const found: number[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const program = await Deno.readLink(`/proc/${name}/exe`).catch(() => "");
    if (program === standInPath()) found.push(Number(name));
  }
  return found;
}

for (const [signal, stopped] of [["SIGKILL", false], ["SIGKILL", true], ["SIGTERM", false]] as const) {
  Deno.test(`a front-end is answered after ${signal}${stopped ? " of a switch that did not read" : ""}`, async () => {
    const before = await standIns();
    await using net = await SwitchProcess.start(["one"]);
    const own = (): Promise<number[]> => standIns().then((all) => all.filter((pid) => !before.includes(pid)));
    assertEquals((await own()).length, 1);
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
      assertEquals((await own()).length, 1);
    }
    await until("the stand-in's end", async () => (await own()).length === 0);
  });
}

Deno.test("a switch without front-ends leaves no stand-in", async () => {
  const before = await standIns();
  {
    await using _net = await SwitchProcess.start(["one"]);
    assertEquals((await standIns()).length, before.length + 1);
  }
  await until("its end", async () => (await standIns()).length === before.length);
});
