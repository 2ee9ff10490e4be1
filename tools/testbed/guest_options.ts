/** What can be asked of a guest, and how it fails. */
import type { WindowSize } from "./frames.ts";
import type { KernelName } from "./kernel.ts";
import type { Progress } from "./progress.ts";

/** How a guest is made. */
export interface GuestOptions {
  /** The switch's vhost-user socket; without it the guest has no device. */
  socket?: string;
  /** Host name if the switch gives none, and name in messages: `guest`. */
  name?: string;
  /** Kernel: 6.12. */
  kernel?: KernelName;
  /** Debian packages besides the usual. */
  packages?: readonly string[];
  /** Directory on the host whose copy is at /mnt. */
  copy?: string;
  /** Memory in MiB: 512. */
  memoryMiB?: number;
  /** Processors: 2. With one, TCG gives up on atomicity between processes. */
  cpus?: number;
  /** Build csvn.ko in and load it? By default, if its source is there. */
  module?: boolean;
  /** The module's parameters, as for insmod. */
  moduleArgs?: string;
  /** File that the guest's console and QEMU's messages are added to. */
  logFile?: string;
  /** More arguments for QEMU. */
  extraQemuArgs?: readonly string[];
  /** Words for the kernel's command line. */
  kernelArgs?: readonly string[];
  /** Network namespace (of `ip netns`) that QEMU runs in: the caller's own. */
  namespace?: string;
  /** Put the device behind a port of its own, for unplugging. */
  hotplug?: boolean;
  /** Emulate, and let a nanosecond pass for each instruction: the guest's clocks count instructions. */
  countInstructions?: boolean;
  /** How long until the agent answers, in milliseconds: 60,000. */
  bootTimeoutMs?: number;
  /** Kills the guest when it fires, also while it boots. */
  signal?: AbortSignal;
  /** Told about preparations that take time. */
  progress?: Progress;
}

/** Options of one {@link Guest.run}. */
export interface RunOptions {
  /** Milliseconds until the command is killed and run() throws: 60,000. */
  timeoutMs?: number;
  /** Standard input; /dev/null if not given. */
  stdin?: string | Uint8Array;
  /** Throw if the status is not 0. */
  check?: boolean;
}

/** Options of one {@link Guest.spawn}. */
export interface SpawnOptions {
  /** Will there be input? Otherwise it is /dev/null. True by default. */
  stdin?: boolean;
  /** Run on a terminal of this size. */
  terminal?: WindowSize;
  /** TERM on the terminal: that of the host. */
  term?: string;
}

/** The guest failed: it did not boot, it died, or a command went wrong. */
export class GuestError extends Error {
  /** Tells it from other errors. */
  override name = "GuestError";
}
