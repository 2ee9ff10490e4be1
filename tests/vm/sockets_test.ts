/**
 * docs/sockets.md against what is so: one guest runs the same program over its own stack and over circuits that have both
 * ends in it, and what the program saw differs only where the document says so.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { bootGuests } from "../support/guests.ts";
import { buildProgram } from "../../tools/testbed/program.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { fromFileUrl } from "@std/path";

const SOURCE = fromFileUrl(new URL("./programs/sockets", import.meta.url));

Deno.test("sockets over circuits are as docs/sockets.md says, beside the guest's own", async (t) => {
  const program = await Deno.readFile(await buildProgram(SOURCE, stderrProgress));
  await using vms = await bootGuests(["self"], { guest: { moduleArgs: "hairpin=1" } });
  const guest = vms.guests["self"]!;
  await guest.run("cat >/tmp/sockets && chmod +x /tmp/sockets", { stdin: program, check: true });
  const { stdout: own } = await guest.run("ip -6 -o addr show dev csvn0 scope global", { check: true });
  const address6 = /inet6 (fd77:[0-9a-f:]+)\//.exec(own)![1]!;
  const run = async (...addresses: string[]): Promise<Map<string, string[]>> => {
    const { stdout } = await guest.run(`/tmp/sockets ${addresses.join(" ")} ${Deno.env.get("CASES") ?? ""}`, { timeoutMs: 600_000 });
    await Deno.writeTextFile(`/tmp/sockets-${addresses[0]}.json`, stdout);
    return new Map(stdout.trimEnd().split("\n").map((line) => JSON.parse(line)).map((r) => [r.case, r.saw]));
  };
  const native = await run("127.0.0.1", "::1");
  const circuits = await run(vms.address("self"), address6);
  for (const [name, saw] of native) {
    const other = circuits.get(name) ?? [];
    if (JSON.stringify(saw) === JSON.stringify(other)) continue;
    console.log(`--- ${name}`);
    for (let i = 0; i < Math.max(saw.length, other.length); i++) {
      if (saw[i] !== other[i]) console.log(`  native:  ${saw[i]}\n  circuit: ${other[i]}`);
    }
  }
  console.log((await guest.run("dmesg | grep -E 'BUG|WARNING|Oops|refcount|csvn'")).stdout);
  console.log((await guest.run("grep . /sys/class/net/csvn0/csvn/*")).stdout);
});
