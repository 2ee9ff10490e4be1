/**
 * Programs as Debian ships them, between two guests without a NIC: what is run on each end, and what must come out.
 * docs/programs.md lists them.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { bootGuests } from "../support/guests.ts";
import { PROGRAMS } from "../support/programs.ts";
import { buildGoProgram } from "../../tools/testbed/go_program.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";

/** Besides what every guest has. */
const PACKAGES = [
  ...["caddy", "default-jdk-headless", "dropbear-bin", "git", "hey", "memcached", "nodejs", "openssh-client"],
  ...["postgresql", "postgresql-contrib", "rsync", "wrk"],
];

const GO_PROGRAM = new URL("./programs/http.go", import.meta.url).pathname;
const JAVA_PROGRAM = new URL("./programs/Http.java", import.meta.url).pathname;
const DOCUMENT = new URL("../../docs/programs.md", import.meta.url);

Deno.test("docs/programs.md lists the programs that are run", async () => {
  const [text] = (await Deno.readTextFile(DOCUMENT)).split("\n## ");
  const rows = [...text!.matchAll(/^\| (.+?) \| .* \| .* \|$/gm)].map(([, name]) => name).slice(2);
  assertEquals(rows, PROGRAMS.map(({ name }) => name));
});

Deno.test("unmodified programs talk to each other over circuits", async (t) => {
  await using vms = await bootGuests(["server", "client"], { guest: { packages: PACKAGES, memoryMiB: 768 } });
  const server = vms.guests["server"]!;
  const client = vms.guests["client"]!;
  const at = vms.address("server");
  const stdin = await Deno.readFile(await buildGoProgram(GO_PROGRAM, stderrProgress));
  const java = await Deno.readFile(JAVA_PROGRAM);
  for (const guest of [server, client]) {
    await guest.run("cat >/tmp/Http.java", { stdin: java, check: true });
    await guest.run("cat >/tmp/http && chmod +x /tmp/http", { stdin, check: true });
  }

  for (const program of PROGRAMS) {
    await t.step(program.name, async () => {
      const before = vms.net.csvn.status().circuits.total;
      if (program.prepare) await server.run(program.prepare, { check: true, timeoutMs: 400_000 });
      const serving = program.serve === undefined ? undefined : server.spawn(program.serve, { stdin: false });
      try {
        await server.run(
          `for i in $(seq 900); do ss -ltn | grep -q ':${program.port} ' && exit; sleep 0.1; done; exit 1`,
          {
            check: true,
          },
        );
        for (const { run, gives } of program.asks) {
          const command = run.replaceAll("SERVER", at);
          const { code, stdout, stderr } = await client.run(command, { timeoutMs: 400_000 });
          const out = `${stdout}${stderr}`;
          if (typeof gives === "string") assertEquals(stdout, gives, `${command}\n${out}`);
          else assertMatch(out, gives, `${command}\n${out}`);
          assertEquals(code, 0, `${command}\n${out}`);
        }
        assert(vms.net.csvn.status().circuits.total > before, "it went over circuits");
      } finally {
        await serving?.kill();
        if (program.stop) await server.run(program.stop);
      }
    });
  }

  await t.step("nothing is left, and the kernels have not complained", async () => {
    for (const guest of [server, client]) {
      await guest.run(
        "for i in $(seq 100); do [ $(cat /sys/class/net/csvn0/csvn/circuits) = 0 ] && exit; sleep 0.1; done; ss -tanp; exit 1",
        { check: true },
      );
      assertEquals((await guest.run("cat /sys/class/net/csvn0/csvn/violations")).stdout, "0\n");
      assertEquals((await guest.run("dmesg | grep -E 'BUG|WARNING|Oops|refcount'")).stdout, "");
    }
  });
});
