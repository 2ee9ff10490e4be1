/**
 * The system calls that the fakes need and Deno has not: `lib/test/fake.c`, built when it is missing.
 *
 * @module
 */

import { dirname, fromFileUrl, join } from "@std/path";

const lib = join(dirname(dirname(dirname(fromFileUrl(import.meta.url)))), "lib");

const built = new Deno.Command("make", { args: ["-s", "-C", lib, "fake"], stdout: "piped", stderr: "piped" })
  .outputSync();
if (!built.success) throw new Error(`building the fakes failed:\n${new TextDecoder().decode(built.stderr)}`);

/** Where it lies. */
export const library = join(lib, "build", "libcsvn_fake.so");

const { symbols } = Deno.dlopen(library, {
  fake_connect: { parameters: ["buffer"], result: "i32" },
  fake_socketpair: { parameters: ["buffer"], result: "i32" },
  fake_send: { parameters: ["i32", "buffer", "u32", "buffer", "u32"], result: "i32" },
  fake_receive: { parameters: ["i32", "buffer", "u32", "buffer"], result: "i32" },
  fake_memfd: { parameters: ["u64", "u32"], result: "i32" },
  fake_truncate: { parameters: ["i32", "u64"], result: "i32" },
  fake_reserve: { parameters: ["u64"], result: "pointer" },
  fake_map: { parameters: ["i32", "u64", "u64", "pointer"], result: "pointer" },
  fake_unmap: { parameters: ["pointer", "u64"], result: "i32" },
  fake_eventfd: { parameters: [], result: "i32" },
  fake_eventfd_take: { parameters: ["i32"], result: "i32" },
  fake_eventfd_add: { parameters: ["i32"], result: "i32" },
  fake_pipe: { parameters: ["buffer"], result: "i32" },
  fake_duplicate: { parameters: ["i32"], result: "i32" },
  fake_close: { parameters: ["i32"], result: "i32" },
  fake_lock: { parameters: ["i32"], result: "i32" },
  fake_unlock: { parameters: [], result: "i32" },
  fake_layout: { parameters: ["u32", "buffer", "u32"], result: "i32" },
  fake_abi_layout: { parameters: ["u32", "buffer", "u32"], result: "i32" },
});

function check(what: string, rc: number): number {
  if (rc < 0) throw new Error(`${what}: errno ${-rc}`);
  return rc;
}

/** Connect to a unix socket; its descriptor. */
export function connect(path: string): number {
  return check(`connect to ${path}`, symbols.fake_connect(new TextEncoder().encode(path + "\0")));
}

/** Two connected unix sockets. */
export function socketPair(): [number, number] {
  const out = new Int32Array(2);
  check("socketpair", symbols.fake_socketpair(new Uint8Array(out.buffer)));
  return [out[0]!, out[1]!];
}

/** A pipe's reading and writing end. */
export function pipe(): [number, number] {
  const out = new Int32Array(2);
  check("pipe", symbols.fake_pipe(new Uint8Array(out.buffer)));
  return [out[0]!, out[1]!];
}

/** Send bytes with descriptors; negative errno where the far end is gone. */
export function send(fd: number, bytes: Uint8Array<ArrayBuffer>, fds: readonly number[] = []): number {
  return symbols.fake_send(fd, bytes, bytes.length, new Uint8Array(Int32Array.from(fds).buffer), fds.length);
}

/** What has come in: bytes and a descriptor (-1: none); undefined when nothing has, empty at the end of file. */
export function receive(fd: number): { bytes: Uint8Array<ArrayBuffer>; fd: number } | undefined {
  const bytes = new Uint8Array(8192);
  const passed = new Int32Array(1);
  const n = symbols.fake_receive(fd, bytes, bytes.length, new Uint8Array(passed.buffer));
  if (n === -11) return undefined;
  return { bytes: bytes.slice(0, Math.max(0, n)), fd: passed[0]! };
}

/** A memfd; sealed as QEMU's are, unless said otherwise. */
export function memfd(bytes: number, sealed = true): number {
  return check("memfd", symbols.fake_memfd(BigInt(bytes), sealed ? 1 : 0));
}

/** Change a file's size. */
export function truncate(fd: number, bytes: number): number {
  return symbols.fake_truncate(fd, BigInt(bytes));
}

/** Memory of this process: its address, and its bytes. */
export interface Memory {
  readonly pointer: Deno.PointerObject;
  readonly address: bigint;
  readonly length: number;
}

function memory(pointer: Deno.PointerValue, length: number): Memory {
  if (pointer === null) throw new Error("mmap failed");
  return { pointer, address: Deno.UnsafePointer.value(pointer), length };
}

/** Address space that reads zero. */
export function reserve(length: number): Memory {
  return memory(symbols.fake_reserve(BigInt(length)), length);
}

/** Map a file, or a piece of it over reserved address space. */
export function map(fd: number, offset: number, length: number, at?: { memory: Memory; offset: number }): Memory {
  const target = at ? Deno.UnsafePointer.offset(at.memory.pointer, at.offset) : null;
  return memory(symbols.fake_map(fd, BigInt(offset), BigInt(length), target), length);
}

/** Unmap. */
export function unmap({ pointer, length }: Memory): void {
  check("munmap", symbols.fake_unmap(pointer, BigInt(length)));
}

/** A view of mapped memory. SAFETY: the caller keeps it mapped while it uses the view, and stays within its length. */
export function bytesAt(m: Memory, offset: number, length: number): Uint8Array<ArrayBuffer> {
  if (offset + length > m.length) throw new RangeError("outside mapped memory");
  return new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(m.pointer, length, offset));
}

/** An eventfd. */
export function eventfd(): number {
  return check("eventfd", symbols.fake_eventfd());
}

/** Its count, which becomes 0. */
export function eventfdTake(fd: number): number {
  return symbols.fake_eventfd_take(fd);
}

/** Add 1 to an eventfd. */
export function eventfdAdd(fd: number): void {
  symbols.fake_eventfd_add(fd);
}

/** Another descriptor for the same file. */
export function duplicate(fd: number): number {
  return check("duplicate a descriptor", symbols.fake_duplicate(fd));
}

/** Close a descriptor. */
export function close(fd: number): void {
  symbols.fake_close(fd);
}

/** Names and values of the layouts in records.h and circuit.h. */
export function layouts(): Map<string, number> {
  return table(symbols.fake_layout);
}

/** Names and values of the layouts in abi.h. A field that is called `size` is `size_`: `size` is that of the whole. */
export function abiLayouts(): Map<string, number> {
  return table(symbols.fake_abi_layout);
}

function table(tell: (index: number, name: Uint8Array<ArrayBuffer>, bytes: number) => number): Map<string, number> {
  const found = new Map<string, number>();
  for (let i = 0;; i++) {
    const name = new Uint8Array(64);
    const value = tell(i, name, name.length);
    if (value === -2) return found;
    found.set(new TextDecoder().decode(name).replace(/\0.*$/s, ""), value >>> 0);
  }
}

/**
 * Hold the lock of a file's inode, as whoever has the file can, until the end: whatever takes that lock waits, and cannot be killed. One at a time, by root; its first byte is
 * overwritten with zero at the end.
 */
export function lockInode(fd: number): Disposable {
  check("lock an inode", symbols.fake_lock(fd));
  return { [Symbol.dispose]: () => void check("unlock an inode", symbols.fake_unlock()) };
}
