/**
 * The kernel module on the other kernels that it is for: an oldest and a newest guest talk to each other.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { installPrograms, listens, passes } from "../support/guest_programs.ts";
import { bootGuests } from "../support/guests.ts";

const DATAGRAMS = await Deno.readTextFile(new URL("./programs/datagrams.py", import.meta.url));

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
  for (const [server, client] of [["old", "new"], ["new", "old"]] as const) {
    for (const guest of [server, client]) {
      await vms.guests[guest]!.run("cat >/tmp/datagrams.py", { stdin: DATAGRAMS, check: true });
    }
    const serving = vms.guests[server]!.spawn("exec python3 -u /tmp/datagrams.py serve 2>/dev/null", { stdin: false });
    await vms.guests[server]!.run("until ss -lun | grep -q :7200; do sleep 0.1; done", { check: true });
    const { stdout } = await vms.guests[client]!.run(
      `python3 -u /tmp/datagrams.py check ${vms.address(server)} 2>&1`,
      { timeoutMs: 400_000 },
    );
    assertMatch(stdout, /^all \d+ passed$/m, stdout);
    await serving.kill();
  }
  await installPrograms(Object.values(vms.guests));
  for (const [server, client] of [["old", "new"], ["new", "old"]] as const) {
    vms.guests[server]!.spawn("exec echo 7300", { stdin: false });
    await listens(vms.guests[server]!, 7300);
    for (
      const program of ["pump ADDRESS 7300 2000000 mix 5", "rights ADDRESS 7300", "inherit ADDRESS 7300"]
        .concat("ends ADDRESS 7300 /sys/class/net/csvn0/csvn/circuits", "cycles ADDRESS 7300 100")
    ) await passes(vms.guests[client]!, `zero ${program.replace("ADDRESS", vms.address(server))}`);
  }
  for (const guest of Object.values(vms.guests)) {
    const { stdout } = await guest.run("dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace' || true");
    assertEquals(stdout, "");
  }
});
