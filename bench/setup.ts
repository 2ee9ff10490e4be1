/**
 * Setting connections up: connect, one byte, close, through the real switch in a process of its own, beside loopback TCP.
 *
 * @module
 */

import type { SwitchStatus } from "../src/host/switch.ts";
import { until } from "../tests/support/until.ts";
import { Bed, tcp } from "./bed.ts";
import type { Figure } from "./figures.ts";

/** How often the switch is asked something while it sets connections up, in milliseconds. */
const PROBE_MS = 20;

/** Milliseconds that the switch takes to answer, while something goes on: what waits in its event loop. */
async function delays(bed: Bed, work: Promise<unknown>): Promise<number[]> {
  const found: number[] = [];
  let over = false;
  const done = work.finally(() => over = true);
  while (!over) {
    const began = performance.now();
    await bed.status();
    found.push(performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, PROBE_MS));
  }
  await done;
  return found.sort((a, b) => a - b);
}

/** One repeat of everything. */
export async function* measureSetup(quick: boolean): AsyncIterable<Figure> {
  const [single, many, open] = quick ? [500, 5000, 2000] : [3000, 30_000, 10_000];
  const rate = (measure: string, who: string, count: number, seconds: number): Figure => ({
    part: "setup",
    measure,
    who,
    value: count / seconds,
    unit: "1/s",
  });
  yield rate("one at a time", "TCP", single, await tcp({ count: single, atOnce: 1 }));
  yield rate("64 at once", "TCP", many, await tcp({ count: many, atOnce: 64 }));
  {
    await using bed = await Bed.start(2);
    await bed.run({ count: 200, atOnce: 64 });
    yield rate("one at a time", "csvn", single, await bed.run({ count: single, atOnce: 1 }));
    const before = bed.cpu();
    yield rate("64 at once", "csvn", many, await bed.run({ count: many, atOnce: 64 }));
    yield { part: "setup", measure: "CPU time", who: "csvn", value: (bed.cpu() - before) / many * 1e6, unit: "us" };
    const waited = await delays(bed, bed.run({ count: many, atOnce: 64 }));
    for (const [who, at] of [["median", 0.5], ["99 %", 0.99]] as const) {
      yield {
        part: "setup",
        measure: "answer of the switch meanwhile",
        who,
        value: waited[Math.floor(waited.length * at)]!,
        unit: "ms",
      };
    }
    // What free slots keep for the next circuits is no idle circuit's.
    await until("pages of free slots", async () => pagesOf(await bed.status()) <= 1, 10_000);
    const [memory, pages] = [bed.memory(), pagesOf(await bed.status())];
    await bed.run({ count: open, atOnce: 64, keep: true });
    const kept = (bed.memory() - memory) + 4096 * (pagesOf(await bed.status()) - pages);
    yield { part: "setup", measure: "memory of an idle circuit", who: "csvn", value: kept / open / 1024, unit: "KiB" };
    yield rate(`64 at once, ${open} open`, "csvn", many, await bed.run({ count: many, atOnce: 64 }));
  }
  {
    await using bed = await Bed.start(100);
    await bed.run({ count: 1000, atOnce: 64 });
    yield rate("64 at once, 100 VMs", "csvn", many, await bed.run({ count: many, atOnce: 64 }));
  }
}

/** Pages of arenas that have memory behind them. */
function pagesOf({ arenas }: SwitchStatus): number {
  return arenas.reduce((sum, { pages }) => sum + pages, 0);
}
