/**
 * docs/sockets.md against what is so: one guest runs the same program over its own stack and over circuits that have both
 * ends in it, and what the program saw differs only where the document says so.
 *
 * @module
 */

import { assertEquals, assertGreater, fail } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { buildProgram } from "../../tools/testbed/program.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import type { KernelName } from "../../tools/testbed/kernel.ts";
import { bootGuests } from "../support/guests.ts";
import { contradictions, type Observations, parseSocketTable } from "../support/socket_table.ts";

const SOURCE = fromFileUrl(new URL("./programs/sockets", import.meta.url));
const DOCUMENT = new URL("../../docs/sockets.md", import.meta.url);
/** How often a case that contradicts the document is run again: some wait for a time, which a busy machine may stretch. */
const AGAIN = 2;

async function compare(t: Deno.TestContext, kernel: KernelName): Promise<void> {
  const table = parseSocketTable(await Deno.readTextFile(DOCUMENT));
  const program = await Deno.readFile(await buildProgram(SOURCE, stderrProgress));
  await using vms = await bootGuests(["self"], { guest: { moduleArgs: "hairpin=1", kernel } });
  const guest = vms.guests["self"]!;
  await guest.run("cat >/tmp/sockets && chmod +x /tmp/sockets", { stdin: program, check: true });
  const { stdout: own } = await guest.run("ip -6 -o addr show dev csvn0 scope global", { check: true });
  const circuitsAt = `${vms.address("self")} ${/inet6 ([0-9a-f:]+)\//.exec(own)![1]}`;

  const run = async (addresses: string, cases: readonly string[] = []): Promise<Observations> => {
    const { stdout } = await guest.run(`/tmp/sockets ${addresses} ${cases.join(" ")}`, {
      check: true,
      timeoutMs: 600_000,
    });
    const lines = stdout.trimEnd().split("\n").map((line): { case: string; saw: string[] } => JSON.parse(line));
    return new Map(lines.map((line) => [line.case, line.saw]));
  };
  const connects = async (): Promise<number> =>
    Number((await guest.run("cat /sys/class/net/csvn0/csvn/connects", { check: true })).stdout);

  await t.step("the document's table", async () => {
    const native = await run("127.0.0.1 ::1");
    assertEquals(await connects(), 0, "the guest's own stack is on its own");
    const circuits = await run(circuitsAt);
    assertGreater(await connects(), native.size, "and circuits are circuits");
    let found = contradictions(table, native, circuits);
    for (let i = 0; i < AGAIN && found.size > 0; i++) {
      const cases = [...found.keys()].filter((name) => native.has(name));
      const again = contradictions(table, await run("127.0.0.1 ::1", cases), await run(circuitsAt, cases));
      found = new Map([...found].filter(([name]) => !native.has(name) || again.has(name)));
    }
    if (found.size > 0) fail([...found].map(([name, what]) => `${name} ${what}`).join("\n\n"));
  });

  await t.step("nothing is left, and the kernel has not complained", async () => {
    const { stdout } = await guest.run("cd /sys/class/net/csvn0/csvn; cat circuits violations", { check: true });
    assertEquals(stdout, "0\n0\n");
    assertEquals((await guest.run("dmesg | grep -E 'BUG|WARNING|Oops|refcount'")).stdout, "");
  });

  await t.step("without hairpin the own address is the guest's own stack's", async () => {
    await guest.run("echo 0 >/sys/module/csvn/parameters/hairpin", { check: true });
    const before = await connects();
    await run(circuitsAt, ["read_write", "datagrams"]);
    assertEquals(await connects(), before);
  });
}

for (const kernel of ["6.12", "6.1", "7.3"] as const) {
  Deno.test(`kernel ${kernel}: sockets over circuits are as docs/sockets.md says, beside the guest's own`, (t) =>
    compare(t, kernel));
}
