/**
 * The real janitor, over arenas whose holders may do what they like.
 *
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { Errno, SystemError } from "../../src/errno.ts";
import type { ArenaMemory } from "../../src/circuit/plane.ts";
import { openLibrary } from "../../src/ffi/library.ts";
import { Plane } from "../../src/ffi/plane.ts";
import { Busy, busy } from "../support/attack.ts";
import { bytesAt, lockInode, map, type Memory, unmap } from "../support/native.ts";
import { until } from "../support/until.ts";

const PAGE = 4096;
const PAGES = 64;

/** Of an arena that somebody writes to, all at once and without pause. */
const LARGE = 64 << 20;

/** An arena, and what somebody who has it sees. */
interface Held extends Disposable {
  readonly arena: ArenaMemory;
  readonly seen: Uint8Array;
}

function hold(plane: Plane, vms: readonly string[] = []): Held {
  const arena = plane.arena(PAGES * PAGE, vms);
  const memory: Memory = map(arena.fd, 0, PAGES * PAGE);
  const seen = bytesAt(memory, 0, PAGES * PAGE);
  return {
    arena,
    seen,
    [Symbol.dispose]: () => {
      unmap(memory);
      arena[Symbol.dispose]();
    },
  };
}

async function open(): Promise<{ plane: Plane } & AsyncDisposable> {
  const errors: unknown[] = [];
  const library = openLibrary();
  const plane = await Plane.open(library, 1000, (error) => void errors.push(error));
  return {
    plane,
    async [Symbol.asyncDispose](): Promise<void> {
      await plane[Symbol.asyncDispose]();
      library.close();
      assertEquals(errors, []);
    },
  };
}

/** Is there such a process, and is it not dead? Once its switch is closed, nobody waits for it. */
function exists(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(Deno.readTextFileSync(`/proc/${pid}/stat`));
  } catch {
    return false;
  }
}

/** Bytes that are not zero, and pages that have memory. */
function used({ seen, arena }: Held): [number, number] {
  const pages = arena.pages(); // reading gives every page memory
  return [seen.reduce((sum, byte) => sum + (byte === 0 ? 0 : 1), 0), pages];
}

Deno.test("wipe() zeroes exactly its range, in place where there is little memory, else by giving that back", async () => {
  await using opened = await open();
  using held = hold(opened.plane);
  const { arena, seen } = held;
  seen.fill(1, 0, 8 * PAGE);
  assertEquals(await arena.wipe(PAGE, 2 * PAGE, 2 * PAGE), 2 * PAGE);
  assertEquals([arena.pages(), seen[PAGE - 1], seen[PAGE], seen[3 * PAGE - 1], seen[3 * PAGE]], [8, 1, 0, 0, 1]);
  assertEquals(await arena.wipe(PAGE, 7 * PAGE, 2 * PAGE), 0);
  assertEquals([arena.pages(), seen[PAGE - 1]], [1, 1]);
  assertEquals(await arena.wipe(0, PAGES * PAGE, 0), 0);
  assertEquals(arena.pages(), 0);
  await assertRejects(() => arena.wipe(0, PAGE, 1 << 20), SystemError, "EINVAL");
});

Deno.test("thousands of ranges of many arenas, more than any queue holds, are zeroed in their order", async () => {
  await using opened = await open();
  await using stack = new AsyncDisposableStack();
  const all = Array.from({ length: 50 }, () => stack.use(hold(opened.plane)));
  for (const { seen } of all) seen.fill(255);
  const order: number[] = [];
  const results = Array.from({ length: 50 * PAGES }, async (_, i) => {
    const kept = await all[i % 50]!.arena.wipe(Math.floor(i / 50) * PAGE, PAGE, PAGE);
    order.push(i);
    return kept;
  });
  assertEquals(new Set(await Promise.all(results)), new Set([PAGE]));
  assertEquals(order, order.toSorted((a, b) => a - b));
  assertEquals(all.map(used), all.map(() => [0, PAGES]));
  assertEquals(opened.plane.janitors.length, 1);
});

Deno.test("arenas that are closed before what was asked for is done disturb nobody", async () => {
  await using opened = await open();
  using held = hold(opened.plane);
  for (let round = 0; round < 200; round++) {
    const other = hold(opened.plane);
    other.seen.fill(1);
    const wipes = [other.arena.wipe(0, PAGE, PAGE), other.arena.wipe(0, PAGES * PAGE, 0)];
    other[Symbol.dispose]();
    held.seen[round % PAGE] = 1;
    await held.arena.wipe(0, PAGE, PAGE);
    await Promise.allSettled(wipes);
  }
  assertEquals(used(held), [0, 1]);
});

Deno.test("arenas that are closed before what was asked for is done disturb nobody when the janitor is replaced", async () => {
  for (const how of ["SIGKILL", "SIGSTOP"] as const) {
    await using opened = await open();
    using held = hold(opened.plane);
    await held.arena.wipe(0, PAGE, 0);
    const [pid] = opened.plane.janitors;
    Deno.kill(pid!, "SIGSTOP");
    const first = held.arena.wipe(0, PAGE, 0);
    const other = hold(opened.plane);
    other.seen.fill(1);
    const wipes = Promise.allSettled(
      Array.from({ length: PAGES }, (_, page) => other.arena.wipe(page * PAGE, PAGE, 0)),
    );
    other[Symbol.dispose]();
    using last = hold(opened.plane);
    last.seen.fill(1);
    const done = last.arena.wipe(0, PAGES * PAGE, 0);
    Deno.kill(pid!, how);
    const [one] = await Promise.allSettled([first]);
    assertEquals(one!.status, how === "SIGKILL" ? "fulfilled" : "rejected");
    await wipes;
    assertEquals([await done, used(last)], [0, [0, 0]]);
  }
});

Deno.test("a janitor that is killed at any moment is replaced, and everything is done", async () => {
  await using opened = await open();
  using held = hold(opened.plane);
  const pids = new Set<number>();
  for (let round = 0; round < 20; round++) {
    held.seen.fill(1);
    const wipes = Array.from({ length: PAGES }, (_, page) => held.arena.wipe(page * PAGE, PAGE, PAGE));
    const [pid] = await until("a janitor", () => opened.plane.janitors.length > 0 && opened.plane.janitors);
    pids.add(pid!);
    if (round > 0) Deno.kill(pid!, "SIGKILL");
    await Promise.all(wipes);
    assertEquals(used(held), [0, PAGES]);
  }
  assert(pids.size > 10, `only ${pids.size} were killed`);
});

Deno.test("a janitor that does nothing is killed; what it was at is given up, the rest is done by another", async () => {
  await using opened = await open();
  using first = hold(opened.plane);
  using second = hold(opened.plane);
  await first.arena.wipe(0, PAGE, 0);
  const [pid] = opened.plane.janitors;
  Deno.kill(pid!, "SIGSTOP");
  second.seen.fill(1);
  const given = first.arena.wipe(0, PAGE, 0);
  const done = second.arena.wipe(0, PAGES * PAGE, 0);
  await assertRejects(() => given, SystemError, "EBUSY");
  assertEquals([await done, used(second)], [0, [0, 0]]);
  await assertRejects(() => first.arena.wipe(0, PAGE, 0), SystemError, "EBUSY");
  await until("it is gone", () => !exists(pid!));
  assertEquals(opened.plane.janitors.length, 1);
});

/** Pages of all arenas that a process has descriptors of. */
function pagesOf(pid: number): number {
  const all = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => `/proc/${pid}/fd/${name}`);
  const arenas = all.filter((path) => Deno.readLinkSync(path).includes("csvn-arena"));
  return arenas.reduce((sum, path) => sum + Deno.statSync(path).blocks! * 512 / PAGE, 0);
}

Deno.test("a janitor that is stuck keeps no memory of arenas that are closed", async () => {
  await using opened = await open();
  const [first, second] = [hold(opened.plane), hold(opened.plane)];
  for (const { arena } of [first, second]) await arena.wipe(0, PAGE, 0);
  const [stuck] = opened.plane.janitors;
  {
    using _lock = lockInode(first.arena.fd);
    await assertRejects(() => first.arena.wipe(0, PAGE, 0), SystemError, "EBUSY");
    second.seen.fill(1);
    assert(pagesOf(stuck!) >= PAGES);
    for (const held of [first, second]) held[Symbol.dispose]();
    // Whoever holds the lock has used a page.
    await until("its memory is given back", () => pagesOf(stuck!) <= 1);
    assert(exists(stuck!), "it cannot be killed");
  }
  await until("it is gone when it may be", () => !exists(stuck!));
});

Deno.test("whoever keeps the janitor waiting for each range waits for those, nobody else does", async () => {
  await using opened = await open();
  const evil = opened.plane.arena(LARGE, ["evil"]);
  using held = hold(opened.plane, ["web"]);
  for (const arena of [evil, held.arena]) await arena.wipe(0, PAGE, 0);
  let over = 0;
  let wipes: Promise<unknown>[];
  {
    await using _ = busy(Busy.WRITES, { fd: evil.fd, bytes: LARGE, threads: 2 });
    wipes = Array.from({ length: 128 }, (_, i) => {
      return evil.wipe(i * PAGE, PAGE, PAGE).catch((error) => assertEquals(error.errno, Errno.EBUSY)).then(() =>
        over++
      );
    });
    held.seen.fill(1);
    await Promise.all(Array.from({ length: PAGES }, (_, page) => held.arena.wipe(page * PAGE, PAGE, 0)));
    assertEquals(used(held), [0, 0]);
    assert(over < 100, `all others have waited for ${over} ranges`);
    // It is closed before all of it is done.
    evil[Symbol.dispose]();
    held.seen.fill(1);
    await held.arena.wipe(0, PAGES * PAGE, 0);
  }
  await Promise.all(wipes);
  assertEquals([over, used(held)], [128, [0, 0]]);
});

Deno.test("an inode whose lock is held stops nobody else, and not the end of the switch", async () => {
  const opened = await open();
  const first = hold(opened.plane);
  using second = hold(opened.plane);
  let stuck: number;
  let last: number;
  {
    using _lock = lockInode(first.arena.fd);
    first.seen.fill(1, PAGE);
    const given = first.arena.wipe(0, PAGES * PAGE, 0);
    second.seen.fill(1);
    const wipes = Array.from({ length: PAGES }, (_, page) => second.arena.wipe(page * PAGE, PAGE, PAGE));
    stuck = (await until("a janitor", () => opened.plane.janitors.length > 0 && opened.plane.janitors))[0]!;
    await assertRejects(() => given, SystemError, "EBUSY");
    await Promise.all(wipes);
    assertEquals(used(second), [0, PAGES]);
    assert(exists(stuck), "it cannot be killed");
    assertEquals(opened.plane.janitors.length, 2);
    last = opened.plane.janitors[1]!;
    first[Symbol.dispose]();
    const began = performance.now();
    await opened[Symbol.asyncDispose]();
    assert(performance.now() - began < 60_000);
    assert(exists(stuck));
    await until("the other one is gone", () => !exists(last));
  }
  await until("it is gone when it may be", () => !exists(stuck));
});
