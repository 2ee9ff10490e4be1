/** The initial file system of a guest, and the agent inside it. */
import { dirname, join } from "@std/path";
import { cached, hashFile } from "./cache.ts";
import { type CpioEntry, makeCpio } from "./cpio.ts";
import { TestbedError } from "./errors.ts";
import { type Kernel, runInRoot, withScratch } from "./kernel.ts";
import { PROJECT } from "./module.ts";
import { parseModulesDep, resolveModules } from "./modules.ts";
import type { Progress } from "./progress.ts";

const RECIPE = 2;

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
async function moduleEntries(
  kernel: Kernel,
  log: string,
): Promise<CpioEntry[]> {
  const index = parseModulesDep(
    await Deno.readTextFile(join(kernel.modules, "modules.dep")),
  );
  const plain = (path: string): string => path.replace(/\.xz$/, "");
  const base = `lib/modules/${kernel.release}`;
  return await withScratch(kernel.root, async (outside, inside) => {
    const top = join(outside, base);
    for (const path of resolveModules(index, [...LOADED, ...AVAILABLE])) {
      const target = join(top, plain(path));
      await Deno.mkdir(dirname(target), { recursive: true });
      await Deno.writeFile(
        target,
        await decompressed(join(kernel.modules, path)),
      );
    }
    for (const file of ["modules.builtin", "modules.order"]) {
      await Deno.copyFile(join(kernel.modules, file), join(top, file));
    }
    // modprobe wants its index of exactly the modules that are there.
    const depmod = ["depmod", "-b", inside, kernel.release];
    await runInRoot(kernel.root, depmod, log, "depmod");
    const list = resolveModules(index, LOADED)
      .map((path) => `/${base}/${plain(path)}\n`).join("");
    return [
      ...await readTree(outside, "lib"),
      {
        path: "load",
        type: "file",
        mode: 0o644,
        data: new TextEncoder().encode(list),
      },
    ];
  });
}

/** A directory's content as entries of an archive, sorted. */
async function readTree(top: string, path: string): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = [{ path, type: "directory", mode: 0o755 }];
  const names: Deno.DirEntry[] = [];
  for await (const entry of Deno.readDir(join(top, path))) names.push(entry);
  names.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, isDirectory } of names) {
    const inner = `${path}/${name}`;
    if (isDirectory) entries.push(...await readTree(top, inner));
    else {
      const data = await Deno.readFile(join(top, inner));
      entries.push({ path: inner, type: "file", mode: 0o644, data });
    }
  }
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
    build: async ({ dir, log }) => {
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
        ...await moduleEntries(kernel, log),
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
