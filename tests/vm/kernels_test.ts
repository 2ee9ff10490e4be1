/**
 * The kernel module on the other kernels that it is for: an oldest and a newest guest talk to each other.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { bootGuests } from "../support/guests.ts";

Deno.test("guests with kernels 6.1 and 7.3 talk to each other", async () => {
  await using vms = await bootGuests(["old", "new"], { kernels: { old: "6.1", new: "7.3" } });
  for (const [name, version] of [["old", /^6\.1\./], ["new", /^7\.3\./]] as const) {
    assertMatch((await vms.guests[name]!.run("uname -r")).stdout, version);
    await vms.guests[name]!.run("head -c 8M /dev/urandom >/var/www/html/file && nginx", { check: true });
  }
  for (const [server, client] of [["old", "new"], ["new", "old"]] as const) {
    const { stdout: sent } = await vms.guests[server]!.run("sha256sum </var/www/html/file", { check: true });
    const { stdout: got } = await vms.guests[client]!.run(
      `curl -sSf http://${vms.address(server)}/file | sha256sum`,
      { check: true },
    );
    assertEquals(got, sent);
  }
  for (const guest of Object.values(vms.guests)) {
    const { stdout } = await guest.run("dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace' || true");
    assertEquals(stdout, "");
  }
});
