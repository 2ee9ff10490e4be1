import { assertEquals } from "@std/assert";
import { Errno, errnoName, SystemError } from "../../src/errno.ts";

Deno.test("Errno has Linux's values", async () => {
  // Node's table is libuv's, which is the system's.
  const { constants } = await import("node:os");
  const system = constants.errno as unknown as Record<string, number>;
  for (const [name, value] of Object.entries(Errno)) {
    if (name in system) assertEquals([name, value], [name, system[name]]);
    else assertEquals([name, value], [name, { ENFILE: 23, ENXIO: 6, ESHUTDOWN: 108 }[name]]);
  }
  assertEquals(new Set(Object.values(Errno)).size, Object.keys(Errno).length);
});

Deno.test("errnoName() names what it knows and numbers the rest", () => {
  for (const [name, value] of Object.entries(Errno)) assertEquals(errnoName(value), name);
  assertEquals(errnoName(4095), "errno 4095");
});

Deno.test("SystemError says what was done to what, and keeps its errno", () => {
  const error = new SystemError("listen on /run/x", Errno.EACCES);
  assertEquals([error.message, error.code, error.errno, error.name, error.action], [
    "cannot listen on /run/x: EACCES",
    "EACCES",
    13,
    "SystemError",
    "listen on /run/x",
  ]);
});
