/**
 * A switch in a process of its own, and fake front-ends whose drivers are C (lib/bench/setup): they sleep on interrupts when they have nothing to do, as guests do.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import type { SwitchStatus } from "../src/host/switch.ts";
import { parseAddress } from "../src/net/address.ts";
import { FakeDriver } from "../tests/support/fake_driver.ts";
import { until } from "../tests/support/until.ts";

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

/** Connections to be set up: how many, and how many at a time. */
export interface Job {
  readonly count: number;
  readonly atOnce: number;
  readonly keep?: boolean;
}

function encodeJob({ count, atOnce, keep = false }: Job): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Uint32Array.of(count, atOnce, keep ? 1 : 0, PORT).buffer);
}

/** Seconds that it took. */
export async function tcp(job: Job): Promise<number> {
  const elapsed = new BigUint64Array(1);
  const rc = await symbols.setup_tcp(encodeJob(job), new Uint8Array(elapsed.buffer));
  if (rc < 0) throw new Error(`loopback TCP failed with errno ${-rc}`);
  return Number(elapsed[0]) / 1e9;
}

/** A switch in a process of its own, and fake guests in pairs. */
export class Bed implements AsyncDisposable {
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
    for (let i = 0; i < vms; i++) bed.drivers.push(await FakeDriver.boot(bed.socket));
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

  /** Where front-ends connect. */
  get socket(): string {
    return `${this.directory}/s`;
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
