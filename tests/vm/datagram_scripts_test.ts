/**
 * Random scripts of datagram sockets that come and go at any moment, over the guest's own stack and over circuits that have both ends
 * in the guest: all that was sent to a receiver that is there arrives, in order, though its sender be gone.
 *
 * @module
 */

import { assertEquals, assertGreater } from "@std/assert";
import { bootGuests } from "../support/guests.ts";

const SCRIPTS = 400;
const program = await Deno.readTextFile(new URL("./programs/datagram_scripts.py", import.meta.url));

Deno.test("datagrams arrive whatever becomes of their sender, over lo and over circuits", async () => {
  await using vms = await bootGuests(["one"], { guest: { moduleArgs: "hairpin=1" } });
  const guest = vms.guests["one"]!;
  await guest.run("cat >/tmp/scripts.py", { stdin: program, check: true });
  const seed = Date.now() % 2 ** 31;
  // deno-lint-ignore no-console -- how to have it again
  console.log(`seed ${seed}`);
  for (const address of ["127.0.0.1", vms.address("one")]) {
    const { stdout, stderr } = await guest.run(`python3 /tmp/scripts.py ${address} ${seed} ${SCRIPTS}`, {
      timeoutMs: 900_000,
    });
    assertEquals(stdout + stderr, `${SCRIPTS} scripts, 0 wrong\n`, address);
  }
  const counted = async (name: string): Promise<number> =>
    Number((await guest.run(`cat /sys/class/net/csvn0/csvn/${name}`, { check: true })).stdout);
  assertGreater(await counted("datagrams_received"), SCRIPTS);
  assertEquals(await counted("violations"), 0);
  assertEquals((await guest.run("dmesg | grep -E 'BUG|WARNING|Oops|refcount'")).stdout, "");
});
