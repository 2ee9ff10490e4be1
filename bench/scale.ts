/**
 * Many VMs on one host: what they move and set up together, and what those take that do nothing.
 *
 * @module
 */

import { FakeFrontEnd } from "../tests/support/fake_front_end.ts";
import { Bed } from "./bed.ts";
import type { Figure } from "./figures.ts";

/** Seconds that idle VMs are looked at. */
const IDLE_SECONDS = 20;

/** What a process has used, in seconds, and bytes of memory that are its own. */
function usage(pid: number): { cpu: number; memory: number } {
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]!.split(" ");
  const rollup = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
  return {
    cpu: (Number(fields[11]) + Number(fields[12])) / 100,
    memory: Number(/^Pss:\s+(\d+)/m.exec(rollup)![1]) * 1024,
  };
}

function sum(pids: readonly number[]): { cpu: number; memory: number } {
  return pids.map(usage).reduce((a, b) => ({ cpu: a.cpu + b.cpu, memory: a.memory + b.memory }), { cpu: 0, memory: 0 });
}

/** The processes that a process has started. */
function childrenOf(parent: number): number[] {
  return [...Deno.readDirSync(`/proc/${parent}/task`)].flatMap(({ name }) =>
    Deno.readTextFileSync(`/proc/${parent}/task/${name}/children`).trim().split(" ").filter((pid) => pid !== "").map(
      Number,
    )
  );
}

/** VMs that are attached, and do nothing. */
async function* measureIdle(vms: number): AsyncIterable<Figure> {
  await using bed = await Bed.start(0);
  await using stack = new AsyncDisposableStack();
  const before = usage(bed.child.pid);
  for (let i = 0; i < vms; i++) {
    const frontEnd = stack.use(new FakeFrontEnd(bed.socket));
    await frontEnd.realize();
    await frontEnd.setMemory();
  }
  const figure = (measure: string, value: number, unit: string): Figure => ({
    part: "scale",
    measure,
    who: "csvn",
    value,
    unit,
  });
  const ports = childrenOf(bed.child.pid);
  if (ports.length !== vms) throw new Error(`${ports.length} ports for ${vms} VMs`);
  const [all, brain] = [sum(ports), usage(bed.child.pid)];
  const memory = (all.memory + brain.memory - before.memory) / vms / 1024;
  await new Promise((resolve) => setTimeout(resolve, IDLE_SECONDS * 1000));
  const [allLater, brainLater] = [sum(ports), usage(bed.child.pid)];
  const cpu = (allLater.cpu - all.cpu + brainLater.cpu - brain.cpu) / IDLE_SECONDS / vms * 1e6;
  yield figure(`memory of one of ${vms} idle VMs`, memory, "KiB");
  yield figure(`CPU time of one of ${vms} idle VMs`, cpu, "us each second");
}

/** One repeat of everything. @param pump What so many VMs move at once. */
export async function* measureScale(
  quick: boolean,
  pump: (vms: number) => AsyncIterable<Figure>,
): AsyncIterable<Figure> {
  const count = quick ? 2000 : 20_000;
  for (const vms of [2, 8, 32]) {
    yield* pump(vms);
    await using bed = await Bed.start(vms);
    await bed.run({ count: 500, atOnce: 64 });
    const seconds = await bed.run({ count, atOnce: 64 });
    yield { part: "scale", measure: `set-ups, ${vms} VMs`, who: "csvn", value: count / seconds, unit: "1/s" };
  }
  yield* measureIdle(quick ? 50 : 1000);
}
