/** What a guest needs around its QEMU: its log, its socket, its input. */
import { join } from "@std/path";
import { cacheRoot } from "./cache.ts";
import type { GuestCommand } from "./command.ts";
import { TestbedError } from "./errors.ts";

/** Is there something to connect to? QEMU's own message is not as clear. */
export async function checkSocket(path: string): Promise<void> {
  const info = await Deno.stat(path).catch(() => undefined);
  if (info === undefined) {
    throw new TestbedError(`no switch at ${path}: there is no such socket`);
  }
  if (!info.isSocket) {
    throw new TestbedError(`no switch at ${path}: it is not a socket`);
  }
}

/** Write a command's input; that it stops reading early is its own business. */
export async function feed(
  child: GuestCommand,
  stdin: string | Uint8Array,
): Promise<void> {
  const bytes = typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin;
  const writer = child.stdin.getWriter();
  try {
    await writer.write(bytes);
    await writer.close();
  } catch {
    // The command has ended.
  }
}

/** A log file of its own in the cache; those older than a day are removed. */
export async function defaultLog(
  name: string,
  runDir: string,
): Promise<string> {
  const dir = join(cacheRoot(), "guest-logs");
  await Deno.mkdir(dir, { recursive: true });
  const yesterday = Date.now() - 24 * 3600_000;
  for await (const entry of Deno.readDir(dir)) {
    const path = join(dir, entry.name);
    const info = await Deno.stat(path).catch(() => undefined);
    if ((info?.mtime?.getTime() ?? Infinity) < yesterday) {
      await Deno.remove(path).catch(() => {});
    }
  }
  const unique = runDir.slice(runDir.lastIndexOf("-") + 1);
  return join(dir, `${name.replaceAll(/[^\w.-]/g, "_")}-${unique}.log`);
}
