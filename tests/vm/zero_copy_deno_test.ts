/**
 * Zero copy by programs in a guest that run on Deno, with programs in C at the other end.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { installPrograms, listens, passes } from "../support/guest_programs.ts";
import { bootGuests } from "../support/guests.ts";

/** Deno itself and the programs, for the guest's /mnt: a disk of its own, since 96 MB would be half of the image. */
async function makeDisk(): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "csvn-deno-" });
  const files = ["guest/deno/csvn.ts", "guest/deno/echo.ts", "tests/vm/programs/zero_copy.ts"];
  for (const folder of ["guest/deno", "tests/vm/programs"]) {
    await Deno.mkdir(`${directory}/${folder}`, { recursive: true });
  }
  await Deno.copyFile(Deno.execPath(), `${directory}/deno`);
  await Deno.chmod(`${directory}/deno`, 0o755);
  for (const file of files) {
    await Deno.copyFile(new URL(`../../${file}`, import.meta.url), `${directory}/${file}`);
  }
  return directory;
}

Deno.test("Deno's programs map their circuits", async (t) => {
  const disk = await makeDisk();
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => Deno.remove(disk, { recursive: true }));
  await using vms = await bootGuests(["deno", "client"], { guest: { copy: disk, memoryMiB: 768 } });
  const guest = vms.guests["deno"]!;
  const client = vms.guests["client"]!;
  await installPrograms([client]);
  const run = "cd /mnt && DENO_DIR=/tmp/deno exec ./deno run --allow-net --allow-ffi";

  await t.step("an echo server on Deno", async () => {
    guest.spawn(`${run} guest/deno/echo.ts 7050 >/tmp/echo.log 2>&1`, { stdin: false });
    await listens(guest, 7050);
    for (const how of ["map", "mix", "copy"]) {
      await passes(client, `zero pump ${vms.address("deno")} 7050 5000000 ${how} 7`, 120_000);
    }
    assertEquals((await guest.run("cat /tmp/echo.log")).stdout, "");
  });

  await t.step("a client on Deno", async () => {
    client.spawn("exec echo 7051", { stdin: false });
    await listens(client, 7051);
    await passes(guest, `${run} tests/vm/programs/zero_copy.ts ${vms.address("client")} 7051 3000000 2>&1`, 120_000);
  });

  await t.step("the kernels have nothing to complain of", async () => {
    for (const each of [guest, client]) {
      assertEquals((await each.run("dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace' || true")).stdout, "");
    }
  });
});
