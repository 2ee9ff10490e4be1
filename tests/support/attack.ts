/**
 * What a front-end can do that wants the switch to wait, and Deno cannot: `lib/test/attack.c`, which is in the fakes' library.
 *
 * @module
 */

import { library } from "./native.ts";

const { symbols } = Deno.dlopen(library, {
  attack_block_eventfd: { parameters: ["i32"], result: "i32" },
  attack_linger: { parameters: ["buffer"], result: "i32" },
  attack_hugetlb: { parameters: ["u64"], result: "i32" },
  attack_punch: { parameters: ["i32", "u64"], result: "i32" },
  attack_fuse_open: { parameters: ["buffer"], result: "i32", nonblocking: true },
  attack_fuse_end: { parameters: [], result: "i32", nonblocking: true },
  attack_busy_start: { parameters: ["u32", "i32", "u64", "buffer", "u32"], result: "i32" },
  attack_busy_stop: { parameters: [], result: "i32", nonblocking: true },
});

/** Something cannot be had on this system. */
export class UnavailableError extends Error {
  override readonly name = "UnavailableError";
}

function check(what: string, rc: number): number {
  if (rc < 0) throw new UnavailableError(`${what}: errno ${-rc}`);
  return rc;
}

const text = (s: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(s + "\0");

/** Make an eventfd full, and whoever writes to it wait. */
export function blockEventfd(fd: number): void {
  check("fill an eventfd", symbols.attack_block_eventfd(fd));
}

/** A TCP socket whose close() waits for 20 s, and what belongs to it. */
export function lingering(): { socket: number; others: number[] } {
  const out = new Int32Array(3);
  check("make a socket that lingers", symbols.attack_linger(new Uint8Array(out.buffer)));
  return { socket: out[0]!, others: [out[1]!, out[2]!] };
}

/** Sealed memory in huge pages. @throws {UnavailableError} */
export function hugeMemory(bytes: number): number {
  return check("make memory of huge pages", symbols.attack_hugetlb(BigInt(bytes)));
}

/** Punch a hole into all of a file. */
export function punch(fd: number, bytes: number): void {
  check("punch a hole", symbols.attack_punch(fd, BigInt(bytes)));
}

/** A file whose server takes every request and answers none. Whoever closes it, or asks it anything, waits until this is disposed, and cannot be killed. */
export async function silentFile(): Promise<{ fd: number } & AsyncDisposable> {
  const directory = await Deno.makeTempDir({ prefix: "csvn-fuse-" });
  try {
    const fd = check("mount a file system in user space", await symbols.attack_fuse_open(text(directory)));
    return { fd, [Symbol.asyncDispose]: async () => void await symbols.attack_fuse_end() };
  } finally {
    await Deno.remove(directory);
  }
}

/** What a thread can do in a loop. */
export const Busy = { NOTHING: 0, SIGNALS: 1, PUNCHES: 2, CONNECTS: 3, WRITES: 4 } as const;

/** Do something in a loop, in up to two threads, until this is disposed. One thing at a time. */
export function busy(what: number, { fd = -1, bytes = 0, path = "", threads = 1 } = {}): AsyncDisposable {
  check("start a thread", symbols.attack_busy_start(what, fd, BigInt(bytes), text(path), threads));
  return { [Symbol.asyncDispose]: async () => void await symbols.attack_busy_stop() };
}
