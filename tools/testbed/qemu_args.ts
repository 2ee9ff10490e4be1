/** The command line of a guest's QEMU. */
import type { Accel } from "./accel.ts";

/** What a guest's machine is made of. */
export interface Machine {
  accel: Accel;
  cpus: number;
  memoryMiB: number;
  kernel: string;
  initramfs: string;
  image: string;
  /** Image that the guest sees at /mnt, if any. */
  copy?: string | undefined;
  /** Words of the kernel's command line besides the usual. */
  append: readonly string[];
  /** File that the serial console's output is added to. */
  log: string;
  qmpSocket: string;
  agentSocket: string;
  /** The switch's vhost-user socket, if the guest shall have a device. */
  socket?: string | undefined;
  /** Put the device behind a port of its own, so that it can be unplugged. */
  hotplug?: boolean | undefined;
  /** Emulate, and let a nanosecond pass for each instruction: the guest's clocks count instructions. */
  countInstructions?: boolean | undefined;
  extra: readonly string[];
}

/** Id of the device and of its character device. */
export const DEVICE_ID = "csvn0";

/** A value inside one of QEMU's comma-separated options. */
export function quoted(value: string): string {
  return value.replaceAll(",", ",,");
}

/**
 * A value as one word of the kernel's command line: what is not plain becomes
 * `%` and three octal digits, which init.sh decodes.
 */
export function encodeParameter(value: string): string {
  const bytes = new TextEncoder().encode(value);
  return [...bytes].map((byte) => {
    const char = String.fromCharCode(byte);
    if (/[A-Za-z0-9_=.,:/-]/.test(char)) return char;
    return `%${byte.toString(8).padStart(3, "0")}`;
  }).join("");
}

/** `-device` option of csvn's device (`bus` if it is behind a port). */
export function deviceOption(bus?: string): string {
  const parts = [
    "vhost-user-test-device-pci",
    `id=${DEVICE_ID}-device`,
    `chardev=${DEVICE_ID}`,
    "virtio-id=21",
    "num_vqs=4",
    "vq_size=1024",
    "config_size=128",
  ];
  if (bus !== undefined) parts.push(`bus=${bus}`);
  return parts.join(",");
}

function disk(id: string, path: string, readonly: boolean): string[] {
  const mode = readonly ? "read-only=on" : "cache.no-flush=on";
  return [
    "-blockdev",
    `driver=file,node-name=${id}-file,filename=${quoted(path)},` +
    (readonly ? "read-only=on,locking=off" : "locking=off"),
    "-blockdev",
    `driver=raw,node-name=${id},file=${id}-file,${mode}`,
    "-device",
    `virtio-blk-pci,drive=${id}`,
  ];
}

/** QEMU's arguments for this machine. */
export function qemuArguments(machine: Machine): string[] {
  const { socket, hotplug, countInstructions = false } = machine;
  const accel = countInstructions ? "tcg" : machine.accel;
  const cpu = accel === "kvm"
    ? "max"
    // Emulated string instructions are a third as fast as plain loops. A
    // re-plugged device's window finds room only on an Intel processor.
    : `max,-erms,-fsrm${hotplug ? ",vendor=GenuineIntel" : ""}`;
  const append = [
    "console=ttyS0",
    "panic=-1",
    "mitigations=off",
    "random.trust_cpu=on",
    "tsc=reliable",
    "no_timer_check",
    ...machine.append,
  ];
  const args = [
    "-no-user-config",
    "-nodefaults",
    "-display",
    "none",
    "-nic",
    "none",
    "-accel",
    accel === "kvm" ? "kvm" : `tcg,thread=${countInstructions ? "single" : "multi"}`,
    ...(countInstructions ? ["-icount", "shift=0"] : []),
    "-cpu",
    cpu,
    "-smp",
    String(machine.cpus),
    "-m",
    `${machine.memoryMiB}M`,
    // A device in another process sees the guest's memory only if it is shared.
    "-object",
    `memory-backend-memfd,id=m,size=${machine.memoryMiB}M,share=on`,
    "-machine",
    "q35,memory-backend=m,vmport=off,graphics=off",
    "-kernel",
    machine.kernel,
    "-initrd",
    machine.initramfs,
    "-append",
    append.join(" "),
    "-chardev",
    `file,id=console,path=${quoted(machine.log)},append=on`,
    "-serial",
    "chardev:console",
    "-qmp",
    `unix:${quoted(machine.qmpSocket)},server=on,wait=off`,
    ...disk("root", machine.image, true),
    ...(machine.copy === undefined ? [] : disk("copy", machine.copy, false)),
    "-device",
    "virtio-serial-pci",
    "-chardev",
    `socket,id=agent,path=${quoted(machine.agentSocket)},server=on,wait=off`,
    "-device",
    "virtserialport,chardev=agent,name=csvn.agent",
    "-device",
    "virtio-rng-pci",
  ];
  if (socket !== undefined) {
    args.push("-chardev", `socket,id=${DEVICE_ID},path=${quoted(socket)}`);
    if (hotplug) {
      args.push(
        "-device",
        "pcie-root-port,id=rp1,chassis=1,slot=1,pref64-reserve=32G",
      );
    }
    args.push("-device", deviceOption(hotplug ? "rp1" : undefined));
  }
  return [...args, ...machine.extra];
}
