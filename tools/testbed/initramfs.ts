/** The initial file system of a guest, and the agent inside it. */
import { join } from "@std/path";
import { cached, hashFile } from "./cache.ts";
import { type CpioEntry, makeCpio } from "./cpio.ts";
import { TestbedError } from "./errors.ts";
import { type Kernel, runInRoot, withScratch } from "./kernel.ts";
import { PROJECT } from "./module.ts";
import { parseModulesDep, resolveModules } from "./modules.ts";
import type { Progress } from "./progress.ts";

const RECIPE = 1;

/** Loaded before the root file system is mounted. */
const LOADED = [
  "virtio_pci",
  "virtio_blk",
  "crc32c_generic",
  "ext4",
  "overlay",
  "virtio_console",
  "virtio_rng",
];

/** Not loaded, but there for `modprobe`: diagnosis and comparison. */
const AVAILABLE = [
  "inet_diag",
  "tcp_diag",
  "udp_diag",
  "unix_diag",
  "virtio_net",
  "vsock",
  "vmw_vsock_virtio_transport",
  "vsock_diag",
  "vsock_loopback",
];

const AGENT = join(PROJECT, "guest/agent/agent.c");
const INIT = join(PROJECT, "guest/init");

/** Build the guest's agent; its path. */
export async function buildAgent(
  kernel: Kernel,
  progress: Progress,
): Promise<string> {
  const dir = await cached({
    name: "agent",
    inputs: { recipe: RECIPE, source: await hashFile(AGENT) },
    what: "building the guest's agent",
    keep: 4,
    build: async ({ dir, log }) => {
      await withScratch(kernel.root, async (outside, inside) => {
        await Deno.copyFile(AGENT, join(outside, "agent.c"));
        const flags = ["-static", "-O2", "-Wall", "-Wextra", "-Werror"];
        const files = ["-o", `${inside}/agent`, `${inside}/agent.c`];
        await runInRoot(
          kernel.root,
          ["gcc", ...flags, ...files],
          log,
          "building the agent",
        );
        await Deno.copyFile(join(outside, "agent"), join(dir, "agent"));
      });
    },
  }, progress);
  return join(dir, "agent");
}

async function decompressed(path: string): Promise<Uint8Array> {
  if (!path.endsWith(".xz")) return await Deno.readFile(path);
  const { success, stdout } = await new Deno.Command("xz", {
    args: ["-dc", "--", path],
  }).output();
  if (!success) throw new TestbedError(`cannot decompress ${path}`);
  return stdout;
}

/** Module files below `lib/modules/RELEASE`, and the list of those to load. */
async function moduleEntries(kernel: Kernel): Promise<CpioEntry[]> {
  const index = parseModulesDep(
    await Deno.readTextFile(join(kernel.modules, "modules.dep")),
  );
  const plain = (path: string): string => path.replace(/\.xz$/, "");
  const base = `lib/modules/${kernel.release}`;
  const entries: CpioEntry[] = [];
  const made = new Set<string>();
  const makeParents = (path: string): void => {
    const parts = path.split("/");
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join("/");
      if (made.has(parent)) continue;
      made.add(parent);
      entries.push({ path: parent, type: "directory", mode: 0o755 });
    }
  };
  const add = (path: string, data: Uint8Array): void => {
    makeParents(path);
    entries.push({ path, type: "file", mode: 0o644, data });
  };
  const encoder = new TextEncoder();
  const load = resolveModules(index, LOADED);
  const all = resolveModules(index, [...LOADED, ...AVAILABLE]);
  let dep = "";
  for (const path of all) {
    add(
      `${base}/${plain(path)}`,
      await decompressed(join(kernel.modules, path)),
    );
    const needs = (index.dependencies.get(path) ?? []).map(plain);
    dep += `${plain(path)}: ${needs.join(" ")}\n`;
  }
  add(`${base}/modules.dep`, encoder.encode(dep));
  for (const file of ["modules.builtin", "modules.order"]) {
    add(`${base}/${file}`, await Deno.readFile(join(kernel.modules, file)));
  }
  const list = load.map((path) => `/${base}/${plain(path)}\n`).join("");
  add("load", encoder.encode(list));
  return entries;
}

/** Build the initial file system; its path. */
export async function ensureInitramfs(
  parts: { kernel: Kernel; agent: string; module?: string | undefined },
  progress: Progress,
): Promise<string> {
  const { kernel, agent, module } = parts;
  const scripts = {
    early: join(INIT, "early.sh"),
    init: join(INIT, "init.sh"),
  };
  const inputs = {
    recipe: RECIPE,
    release: kernel.release,
    modules: [...LOADED, ...AVAILABLE],
    agent: await hashFile(agent),
    early: await hashFile(scripts.early),
    init: await hashFile(scripts.init),
    module: module === undefined ? null : await hashFile(module),
  };
  const dir = await cached({
    name: `initramfs-${kernel.name}`,
    inputs,
    what: `building the initramfs for kernel ${kernel.name}`,
    keep: 8,
    build: async ({ dir }) => {
      const file = async (
        path: string,
        source: string,
        mode = 0o755,
      ): Promise<CpioEntry> => ({
        path,
        type: "file",
        mode,
        data: await Deno.readFile(source),
      });
      const folder = (path: string): CpioEntry => ({
        path,
        type: "directory",
        mode: 0o755,
      });
      const entries = [
        folder("bin"),
        await file("bin/busybox", join(kernel.root, "usr/bin/busybox"))
          .catch(() => file("bin/busybox", join(kernel.root, "bin/busybox"))),
        await file("init", scripts.early),
        folder("csvn"),
        await file("csvn/agent", agent),
        await file("csvn/init", scripts.init),
        ...await moduleEntries(kernel),
      ];
      if (module !== undefined) {
        entries.push(await file("csvn/csvn.ko", module, 0o644));
      }
      // Not compressed: an emulated processor unpacks slower than it copies.
      await Deno.writeFile(join(dir, "initramfs"), makeCpio(entries));
    },
  }, progress);
  return join(dir, "initramfs");
}
