/** Whether this machine can run guests on its own processor. */
import { delay } from "@std/async";
import { join } from "@std/path";
import { cached } from "./cache.ts";
import type { Kernel } from "./kernel.ts";
import { tailOf } from "./process.ts";
import type { Progress } from "./progress.ts";
import type { Qemu } from "./qemu.ts";

/** How guests are run. */
export type Accel = "kvm" | "tcg";

/**
 * A working KVM takes a kernel to its panic in about a second; one that is
 * itself emulated spends longer than this before its first line.
 */
const PROBE_MS = 8_000;
const RECIPE = 1;

/** Can /dev/kvm be opened? Says nothing about whether guests run. */
async function canOpenKvm(): Promise<boolean> {
  try {
    (await Deno.open("/dev/kvm", { read: true, write: true })).close();
    return true;
  } catch {
    return false;
  }
}

/**
 * Boot a kernel that has no root file system under KVM, and see it panic.
 *
 * Less would not do: there are machines whose /dev/kvm opens and runs firmware,
 * and then meets an instruction in the kernel that it cannot emulate.
 */
async function probe(
  qemu: Qemu,
  kernel: Kernel,
  dir: string,
): Promise<boolean> {
  const serial = join(dir, "serial.log");
  const messages = join(dir, "qemu.log");
  const child = new Deno.Command("sh", {
    args: [
      "-c",
      'log=$1; shift; exec setpriv --pdeathsig KILL -- "$@" >"$log" 2>&1',
      "sh",
      messages,
      ...qemu.command,
      ..."-accel kvm -machine q35 -cpu max -m 256 -smp 2".split(" "),
      ..."-no-user-config -nodefaults -nic none -display none".split(" "),
      "-no-reboot",
      "-serial",
      `file:${serial}`,
      "-kernel",
      kernel.image,
      "-append",
      "console=ttyS0 panic=-1 mitigations=off",
    ],
    stdin: "null",
  }).spawn();
  let running = true;
  const status = child.status.finally(() => (running = false));
  const end = Date.now() + PROBE_MS;
  while (running && Date.now() < end) {
    if (/internal error|failed to init/i.test(await tailOf(messages, 200))) {
      break;
    }
    await delay(50);
  }
  const ended = !running;
  if (running) child.kill("SIGKILL");
  const { success } = await status;
  return ended && success &&
    (await tailOf(serial, 200)).includes("Kernel panic");
}

/** Which accelerator guests use here; found out once per boot of the host. */
export async function ensureAccel(
  qemu: Qemu,
  kernel: Kernel,
  progress: Progress,
): Promise<Accel> {
  const own = Deno.env.get("CSVN_ACCEL");
  if (own === "kvm" || own === "tcg") return own;
  if (!await canOpenKvm()) return "tcg";
  const boot = await Deno.readTextFile("/proc/sys/kernel/random/boot_id");
  const dir = await cached({
    name: "accel",
    inputs: { recipe: RECIPE, boot, qemu: qemu.version },
    what: "trying whether KVM runs guests",
    keep: 1,
    build: async ({ dir }) => {
      const works = await probe(qemu, kernel, dir);
      progress(works ? "KVM works" : "KVM does not work here: emulating (TCG)");
      await Deno.writeTextFile(join(dir, "accel"), works ? "kvm" : "tcg");
    },
  }, progress);
  const accel = await Deno.readTextFile(join(dir, "accel"));
  return accel === "kvm" ? "kvm" : "tcg";
}
