/** A copy of a directory of the host, for a guest's /mnt. */
import { join, resolve } from "@std/path";
import { exists } from "./cache.ts";
import { TestbedError } from "./errors.ts";
import { makeImage } from "./image.ts";

/** Space that the guest finds free at /mnt, in bytes. */
const SPARE = 256 * 1024 * 1024;

/** Make the image in `dir`; its path, and what the kernel's parameter says. */
export async function makeCopyImage(
  source: string,
  dir: string,
  log: string,
): Promise<{ path: string; parameter: "1" | "keep" }> {
  const absolute = resolve(source);
  const info = await Deno.stat(absolute).catch(() => undefined);
  if (!info?.isDirectory) {
    throw new TestbedError(`${source} is not a directory`);
  }
  const path = join(dir, "copy.img");
  // A disk of its own and not an archive to unpack: any names, any size, and
  // no work for the guest.
  await makeImage(absolute, path, { spareBytes: SPARE, log });
  // ext4 makes a lost+found, which the guest removes unless it is a copy too.
  const keep = await exists(join(absolute, "lost+found"));
  return { path, parameter: keep ? "keep" : "1" };
}
