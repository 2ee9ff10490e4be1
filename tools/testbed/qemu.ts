/** Finding or fetching a QEMU that has the device that csvn's switch backs. */
import { join } from "@std/path";
import { cached, exists } from "./cache.ts";
import { type Archive, commandInRoot, makeRoot } from "./debian.ts";
import { TestbedError } from "./errors.ts";
import { capture, findProgram } from "./process.ts";
import type { Progress } from "./progress.ts";

/** First release whose vhost-user-test-device has shared-memory regions. */
export const MINIMUM_QEMU: readonly [number, number] = [11, 1];
const RECIPE = 1;

/** A QEMU that can be started. */
export interface Qemu {
  /** Program and leading arguments. */
  command: string[];
  /** Its version, such as `11.1.3`. */
  version: string;
}

/** The version that `--version` prints, as `[major, minor, patch]`. */
export function parseQemuVersion(
  text: string,
): [number, number, number] | undefined {
  const match = /version (\d+)\.(\d+)\.(\d+)/.exec(text);
  if (match === null) return undefined;
  return [Number(match[1]), Number(match[2]), Number(match[3])];
}

/** Is this version new enough? */
export function isFit(version: readonly [number, number, number]): boolean {
  const [major, minor] = MINIMUM_QEMU;
  return version[0] > major || (version[0] === major && version[1] >= minor);
}

async function probe(command: string[]): Promise<Qemu | undefined> {
  try {
    const version = parseQemuVersion(
      (await capture([...command, "--version"])).stdout,
    );
    if (version === undefined || !isFit(version)) return undefined;
    return { command, version: version.join(".") };
  } catch {
    return undefined;
  }
}

/** How to start the emulator of a fetched root, with its firmware. */
function emulatorOf(root: string): string[] {
  return [
    ...commandInRoot(root, "usr/bin/qemu-system-x86_64"),
    "-L",
    join(root, "usr/share/qemu"),
    "-L",
    join(root, "usr/share/seabios"),
  ];
}

/** The host's QEMU if it is new enough, otherwise one from Debian's backports. */
export async function ensureQemu(
  archive: () => Promise<Archive>,
  progress: Progress,
): Promise<Qemu> {
  const system = findProgram("qemu-system-x86_64");
  if (system !== undefined) {
    const found = await probe([system]);
    if (found !== undefined) return found;
  }
  const dir = await cached({
    name: "qemu",
    inputs: { recipe: RECIPE },
    what: "fetching QEMU",
    build: async ({ dir, log }) => {
      await makeRoot(
        {
          suite: "trixie",
          backports: true,
          variant: "extract",
          packages: ["qemu-system-x86"],
        },
        join(dir, "root"),
        log,
        await archive(),
      );
    },
  }, progress);
  const found = await probe(emulatorOf(join(dir, "root")));
  if (found === undefined) {
    const there = await exists(join(dir, "root/usr/bin/qemu-system-x86_64"));
    throw new TestbedError(
      there
        ? `the QEMU in ${dir} does not run or is older than ${MINIMUM_QEMU.join(".")}`
        : `${dir} holds no QEMU; remove it and try again`,
    );
  }
  return found;
}
