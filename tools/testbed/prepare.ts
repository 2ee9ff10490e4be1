/** Everything that must be there before a guest can boot. */
import { type Accel, ensureAccel } from "./accel.ts";
import { type Archive, ensureArchive } from "./debian.ts";
import { messageOf } from "./errors.ts";
import { ensureHostTools } from "./host.ts";
import { ensureImage } from "./image.ts";
import { buildAgent, ensureInitramfs } from "./initramfs.ts";
import { DEFAULT_KERNEL, ensureKernel, type Kernel, type KernelName } from "./kernel.ts";
import { buildModule, hasModuleSource } from "./module.ts";
import { noProgress, type Progress, stderrProgress } from "./progress.ts";
import { ensureQemu, type Qemu } from "./qemu.ts";

/** What to prepare for. */
export interface TestbedOptions {
  /** Told about what takes time. */
  progress?: Progress;
  /** Kernel of the guest; 6.12 if not given. */
  kernel?: KernelName;
  /** Debian packages in the guest besides the usual. */
  packages?: readonly string[];
  /** Build the module in? By default, if its source is there. */
  module?: boolean;
}

/** All parts of a bootable guest. */
export interface Testbed {
  /** The emulator. */
  qemu: Qemu;
  /** How it runs guests. */
  accel: Accel;
  /** The guest's kernel. */
  kernel: Kernel;
  /** Path of its initial file system, with the agent and the module. */
  initramfs: string;
  /** Path of its root file system's image. */
  image: string;
  /** Path of csvn.ko, if it is in. */
  module: string | undefined;
}

/** Wait for all, then throw the first error: no build is left running. */
async function all<T extends readonly Promise<unknown>[]>(
  ...work: T
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(work);
  return await Promise.all(work);
}

/** Fetch and build what is missing; quick if nothing is. */
export async function ensureTestbed(
  options: TestbedOptions = {},
): Promise<Testbed> {
  const progress = options.progress ?? noProgress;
  const name = options.kernel ?? DEFAULT_KERNEL;
  await ensureHostTools(["setpriv", "setsid", "mke2fs"], progress);
  let found: Promise<Archive> | undefined;
  const archive = (): Promise<Archive> => found ??= ensureArchive(progress);
  const qemuReady = ensureQemu(archive, progress);
  const kernelReady = ensureKernel(name, archive, progress);
  const wanted = options.module ?? await hasModuleSource();
  // Side by side: on a fresh machine most of the time is waiting.
  const [qemu, kernel, image, accel, agent, module] = await all(
    qemuReady,
    kernelReady,
    ensureImage(options.packages ?? [], archive, progress),
    (async (): Promise<Accel> => await ensureAccel(await qemuReady, await kernelReady, progress))(),
    (async (): Promise<string> => await buildAgent(await kernelReady, progress))(),
    (async (): Promise<string | undefined> => wanted ? await buildModule(name, archive, progress) : undefined)(),
  );
  const initramfs = await ensureInitramfs({ kernel, agent, module }, progress);
  return { qemu, accel, kernel, initramfs, image, module };
}

if (import.meta.main) {
  try {
    const start = performance.now();
    const testbed = await ensureTestbed({ progress: stderrProgress });
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    stderrProgress(
      `ready in ${seconds} s: QEMU ${testbed.qemu.version} (${testbed.accel}), kernel ${testbed.kernel.release}`,
    );
  } catch (error) {
    stderrProgress(messageOf(error));
    Deno.exit(1);
  }
}
