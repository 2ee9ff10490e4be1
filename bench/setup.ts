/**
 * Setting connections up: connect, one byte, close, through the real switch in a process of its own, beside loopback TCP.
 *
 * The guests are fake front-ends whose drivers are C (lib/bench/setup): they sleep on interrupts when they have nothing to do, as guests do.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import type { SwitchStatus } from "../src/host/switch.ts";
import { parseAddress } from "../src/net/address.ts";
import { FakeDriver } from "../tests/support/fake_driver.ts";
import { until } from "../tests/support/until.ts";
import type { Figure } from "./figures.ts";

const mod = fromFileUrl(new URL("../mod.ts", import.meta.url));
const PORT = 80;
const VM_BYTES = 24 + 4 * 32;
/** Where the C drivers have their buffers: behind those of the TypeScript driver. */
const BUFFERS = 3 << 20;

const { symbols } = Deno.dlopen(fromFileUrl(new URL("../lib/build/libcsvn_setup.so", import.meta.url)), {
  setup_begin: { parameters: ["buffer", "u32"], result: "pointer" },
  setup_end: { parameters: ["pointer"], result: "void" },
  setup_circuits: { parameters: ["pointer", "buffer", "buffer"], result: "i32", nonblocking: true },
  setup_tcp: { parameters: ["buffer", "buffer"], result: "i32", nonblocking: true },
});

interface Job {
  readonly count: number;
  readonly atOnce: number;
  readonly keep?: boolean;
}

function encodeJob({ count, atOnce, keep = false }: Job): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Uint32Array.of(count, atOnce, keep ? 1 : 0, PORT).buffer);
}

/** Seconds that it took. */
async function tcp(job: Job): Promise<number> {
  const elapsed = new BigUint64Array(1);
  const rc = await symbols.setup_tcp(encodeJob(job), new Uint8Array(elapsed.buffer));
  if (rc < 0) throw new Error(`loopback TCP failed with errno ${-rc}`);
  return Number(elapsed[0]) / 1e9;
}

/** A switch in a process of its own, and fake guests in pairs. */
class Bed implements AsyncDisposable {
  readonly drivers: FakeDriver[] = [];

  #run: Deno.PointerValue = null;
  /** The C drivers' view of the guests, which stays where it is. */
  #vms = new Uint8Array(0);

  private constructor(readonly directory: string, readonly child: Deno.ChildProcess) {}

  static async start(vms: number): Promise<Bed> {
    const directory = await Deno.makeTempDir({ prefix: "csvn-bench-" });
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-A", "--no-check", mod, "--socket", `${directory}/s`, "--api", `${directory}/api`],
        ...["--log-level", "error", "--ring-size", "16KiB", "--no-outside", "--resolver", "127.77.99.254"],
      ],
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    const bed = new Bed(directory, child);
    await until("the switch", () => exists(`${directory}/api`), 30_000);
    for (let i = 0; i < vms; i++) bed.drivers.push(await FakeDriver.boot(`${directory}/s`));
    for (let i = 1; i < vms; i += 2) await bed.drivers[i]!.listen(PORT, PORT, 4096);
    return bed;
  }

  /** Seconds that it took. The first call takes the guests over from TypeScript's drivers. */
  async run(job: Job): Promise<number> {
    if (!this.#run) {
      for (const driver of this.drivers) await driver.suspend();
      this.#vms = new Uint8Array(VM_BYTES * this.drivers.length);
      this.drivers.forEach((driver, i) => encodeVm(new DataView(this.#vms.buffer, i * VM_BYTES), driver));
      this.#run = symbols.setup_begin(this.#vms, this.drivers.length);
    }
    const elapsed = new BigUint64Array(1);
    const rc = await symbols.setup_circuits(this.#run, encodeJob(job), new Uint8Array(elapsed.buffer));
    if (rc < 0) throw new Error(`connections failed with errno ${-rc}`);
    return Number(elapsed[0]) / 1e9;
  }

  async status(): Promise<SwitchStatus> {
    using client = Deno.createHttpClient({ proxy: { transport: "unix", path: `${this.directory}/api` } });
    // A name would be asked of the resolver.
    return await (await fetch("http://127.0.0.1/v1/status", { client })).json();
  }

  /** CPU seconds that the switch has used. */
  cpu(): number {
    const fields = Deno.readTextFileSync(`/proc/${this.child.pid}/stat`).split(") ")[1]!.split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** Bytes of the switch's own memory: what it has alone. */
  memory(): number {
    const text = Deno.readTextFileSync(`/proc/${this.child.pid}/smaps_rollup`);
    return Number(/^Private_Dirty:\s+(\d+)/m.exec(text)![1]) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#run) symbols.setup_end(this.#run);
    for (const driver of this.drivers) await driver[Symbol.asyncDispose]();
    this.child.kill("SIGTERM");
    await this.child.status;
    await Deno.remove(this.directory, { recursive: true });
  }
}

function encodeVm(view: DataView, { frontEnd, queues, address }: FakeDriver): void {
  view.setBigUint64(0, frontEnd.memory.address, true);
  view.setBigUint64(8, frontEnd.window.address, true);
  view.setUint32(16, BUFFERS, true);
  view.setUint32(20, new DataView(parseAddress(address).bytes.buffer).getUint32(0, true), true);
  queues.forEach(({ desc, avail, used, size, indices: { available, seen }, kickFd }, i) => {
    [desc, avail, used, size, available, seen, kickFd, frontEnd.calls[i]!].forEach((value, n) =>
      view.setUint32(24 + 32 * i + 4 * n, value, true)
    );
  });
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

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
