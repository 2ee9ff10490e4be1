/**
 * docs/sockets.md against what is so: a guest of each kernel runs the same program over its own stack and over circuits that
 * have both ends in it, and what the program saw differs only where the document says so.
 *
 * @module
 */

import { assertEquals, assertGreater, fail } from "@std/assert";
import { fromFileUrl } from "@std/path";
import type { Guest } from "../../tools/testbed/guest.ts";
import { buildProgram } from "../../tools/testbed/program.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { bootGuests } from "../support/guests.ts";
import { contradictions, type Observations, parseSocketTable } from "../support/socket_table.ts";

const SOURCE = fromFileUrl(new URL("../../guest/test/sockets", import.meta.url));
const DOCUMENT = new URL("../../docs/sockets.md", import.meta.url);
const KERNELS = { old: "6.1", usual: "6.12", new: "7.3" } as const;
/** How often a case that contradicts the document is run again: some wait for a time, which a busy machine may stretch. */
const AGAIN = 2;

const ownStack = "127.0.0.1 ::1";

/** A guest's addresses on the switch, of both families. */
async function circuitsAt(guest: Guest): Promise<string> {
  const { stdout } = await guest.run("ip -o addr show dev csvn0 scope global", { check: true });
  return [...stdout.matchAll(/inet6? ([0-9a-f.:]+)\//g)].map(([, address]) => address).join(" ");
}

/** Run cases, or all. */
async function run(guest: Guest, addresses: string, cases: readonly string[] = []): Promise<Observations> {
  const { stdout } = await guest.run(`/tmp/sockets ${addresses} ${cases.join(" ")}`, {
    check: true,
    timeoutMs: 900_000,
  });
  const lines = stdout.trimEnd().split("\n").map((line): { case: string; saw: string[] } => JSON.parse(line));
  return new Map(lines.map((line) => [line.case, line.saw]));
}

async function connects(guest: Guest): Promise<number> {
  return Number((await guest.run("cat /sys/class/net/csvn0/csvn/connects", { check: true })).stdout);
}

Deno.test("sockets over circuits are as docs/sockets.md says, beside the guest's own", async (t) => {
  const table = parseSocketTable(await Deno.readTextFile(DOCUMENT));
  const program = await Deno.readFile(await buildProgram(SOURCE, stderrProgress));
  await using vms = await bootGuests(Object.keys(KERNELS), { guest: { moduleArgs: "hairpin=1" }, kernels: KERNELS });
  const guests = Object.values(vms.guests);
  for (const guest of guests) {
    await guest.run("cat >/tmp/sockets && chmod +x /tmp/sockets", { stdin: program, check: true });
  }

  const compare = async (guest: Guest): Promise<string[]> => {
    const native = await run(guest, ownStack);
    assertEquals(await connects(guest), 0, "the guest's own stack is on its own");
    const addresses = await circuitsAt(guest);
    const circuits = await run(guest, addresses);
    assertGreater(await connects(guest), native.size, "and circuits are circuits");
    let found = contradictions(table, native, circuits);
    for (let i = 0; i < AGAIN && found.size > 0; i++) {
      const cases = [...found.keys()].filter((name) => native.has(name));
      if (cases.length === 0) break;
      const again = contradictions(table, await run(guest, ownStack, cases), await run(guest, addresses, cases));
      found = new Map([...found].filter(([name]) => !native.has(name) || again.has(name)));
    }
    return [...found].map(([name, what]) => `${guest.name}: ${name} ${what}`);
  };

  await t.step("the document's table, on each kernel", async () => {
    const found = (await Promise.all(guests.map(compare))).flat();
    if (found.length > 0) fail(found.join("\n\n"));
  });

  await t.step("nothing is left, and the kernels have not complained", async () => {
    for (const guest of guests) {
      const { stdout } = await guest.run("cd /sys/class/net/csvn0/csvn; cat circuits violations", { check: true });
      assertEquals(stdout, "0\n0\n");
      assertEquals((await guest.run("dmesg | grep -E 'BUG|WARNING|Oops|refcount'")).stdout, "");
    }
  });

  await t.step("without hairpin the own address is the guest's own stack's", async () => {
    for (const guest of guests) {
      await guest.run("echo 0 >/sys/module/csvn/parameters/hairpin", { check: true });
      const before = await connects(guest);
      await run(guest, await circuitsAt(guest), ["read_write", "datagrams"]);
      assertEquals(await connects(guest), before);
    }
  });
});
