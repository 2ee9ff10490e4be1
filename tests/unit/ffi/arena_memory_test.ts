import { assertEquals } from "@std/assert";
import { MemfdArena } from "../../../src/ffi/arena_memory.ts";
import type { Janitor } from "../../../src/ffi/janitor.ts";
import type { Library } from "../../../src/ffi/library.ts";

Deno.test("an arena's memory is given back by another thread, once, when the janitor has let go of it", async () => {
  const calls: string[] = [];
  const symbols = {
    csvn_arena_create: () => 7,
    csvn_fd_identity: () => 0,
    csvn_fd_close: (fd: number) => void calls.push(`close ${fd}`),
    csvn_fd_close_apart: (fd: number) => void calls.push(`close ${fd} apart`),
  };
  const left = Promise.withResolvers<void>();
  const janitor = { leave: () => left.promise } as unknown as Janitor;
  const arena = new MemfdArena({ symbols } as unknown as Library, 1 << 30, ["a", "b"], janitor);
  arena[Symbol.dispose]();
  arena[Symbol.dispose]();
  await Promise.resolve();
  assertEquals(calls, []);
  left.resolve();
  await left.promise;
  await Promise.resolve();
  assertEquals(calls, ["close 7 apart"]);
});
