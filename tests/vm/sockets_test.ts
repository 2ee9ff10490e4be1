/**
 * docs/sockets.md against what is so: a guest of each kernel runs the same program over its own stack and over circuits, and what the
 * program saw differs only where the document says so. Circuits lead
 *
 * - to another VM: both their ends are in the one guest (`hairpin=1`), which is to the module as two guests are;
 * - to the outside: what the program connects and sends to goes to the host's stack, where the guest's ports are published, and
 *   so comes back to the program.
 *
 * @module
 */

import { assertEquals, assertGreater, assertMatch, fail } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { parseAddress } from "../../src/net/address.ts";
import type { Guest } from "../../tools/testbed/guest.ts";
import { ensureHostTools } from "../../tools/testbed/host.ts";
import { buildProgram } from "../../tools/testbed/program.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { bootGuests } from "../support/guests.ts";
import { contradictions, type Observations, parseSocketTable, type Way } from "../support/socket_table.ts";
import { until } from "../support/until.ts";

const SOURCE = fromFileUrl(new URL("../../guest/test/sockets", import.meta.url));
const PROGRAMS = fromFileUrl(new URL("./programs", import.meta.url));
const DOCUMENT = new URL("../../docs/sockets.md", import.meta.url);
const KERNELS = { old: "6.1", usual: "6.12", new: "7.3" } as const;
/** The guest that goes to the outside: what the host's stack does, it does for all kernels. */
const OUTSIDER = "usual";
/** How often a case that contradicts the document is run again: some wait for a time, which a busy machine may stretch. */
const AGAIN = 2;

/** Where the host has the guest's ports, of both families. */
const HOST = ["127.77.7.9", "::1"].map(parseAddress);
/** Where the guest reaches them: the switch's addresses. */
const GATEWAY = "10.77.0.1 fd77:6373:766e::1";
/** The host's own server. Tests at the same time have other ports. */
const SERVER_PORT = 20_000 + 129 * (Deno.pid % 64);
/** The ports that programs of the guest get, so that they are those that are published. */
const PORTS = Array.from({ length: 128 }, (_, i) => SERVER_PORT + 1 + i);
/** The kernel's own choice: connections in TIME_WAIT would soon use fewer up. */
const USUAL_PORTS = [32_768, 60_999];

const publish = PORTS.flatMap((port) =>
  HOST.flatMap((address) =>
    (["tcp", "udp"] as const).map((protocol) => ({ protocol, host: { address, port }, vm: OUTSIDER, port }))
  )
);
const allowHost = [SERVER_PORT, ...PORTS].flatMap((port) => HOST.map((address) => ({ address, port })));

/** Where the program runs: its addresses, and the ports that it gets. */
interface Route {
  readonly addresses: string;
  readonly ports: readonly number[];
}

const OWN_STACK: Route = { addresses: "127.0.0.1 ::1", ports: USUAL_PORTS };

/** By circuits that lead so. */
async function routeOf(guest: Guest, way: Way): Promise<Route> {
  const { stdout } = await guest.run("ip -o addr show dev csvn0 scope global", { check: true });
  const own = [...stdout.matchAll(/inet6? ([0-9a-f.:]+)\//g)].map(([, address]) => address).join(" ");
  return way === "to another VM"
    ? { addresses: own, ports: USUAL_PORTS }
    : { addresses: `${own} --reached ${GATEWAY}`, ports: [PORTS[0]!, PORTS.at(-1)!] };
}

/** Run cases. */
async function run(guest: Guest, { addresses, ports }: Route, cases: Iterable<string> = []): Promise<Observations> {
  const { stdout } = await guest.run(
    `echo ${ports.join(" ")} >/proc/sys/net/ipv4/ip_local_port_range; /tmp/sockets ${addresses} ${
      [...cases].join(" ")
    }`,
    { check: true, timeoutMs: 900_000 },
  );
  const lines = stdout.trimEnd().split("\n").map((line): { case: string; saw: string[] } => JSON.parse(line));
  return new Map(lines.map((line) => [line.case, line.saw]));
}

/** A server on the host, which tells what options a socket has that reached it; ended by disposal. */
async function startOptionsServer(): Promise<AsyncDisposable> {
  await ensureHostTools(["python3", "ss"], stderrProgress);
  const child = new Deno.Command("python3", {
    args: [`${PROGRAMS}/options_server.py`, HOST[0]!.text, `${SERVER_PORT}`],
    stdout: "piped",
  }).spawn();
  const output = child.stdout.getReader();
  const disposable = {
    async [Symbol.asyncDispose](): Promise<void> {
      await output.cancel();
      child.kill("SIGKILL");
      await child.status;
    },
  };
  if ((await output.read()).done) {
    await child.status;
    throw new Error("the server has not started");
  }
  return disposable;
}

async function connects(guest: Guest): Promise<number> {
  return Number((await guest.run("cat /sys/class/net/csvn0/csvn/connects", { check: true })).stdout);
}

Deno.test("sockets over circuits are as docs/sockets.md says, beside the guest's own", async (t) => {
  const tables = parseSocketTable(await Deno.readTextFile(DOCUMENT));
  const program = await Deno.readFile(await buildProgram(SOURCE, stderrProgress));
  await using vms = await bootGuests(Object.keys(KERNELS), {
    guest: { moduleArgs: "hairpin=1" },
    kernels: KERNELS,
    net: { publish, allowHost },
  });
  const guests = Object.values(vms.guests);
  const natively = new Map<Guest, Observations>();

  await t.step("the guest's own stack is on its own", async () => {
    await Promise.all(guests.map(async (guest) => {
      await guest.run("cat >/tmp/sockets && chmod +x /tmp/sockets", { stdin: program, check: true });
      natively.set(guest, await run(guest, OWN_STACK));
      assertEquals(await connects(guest), 0);
    }));
  });

  const compare = async (guest: Guest, way: Way): Promise<string[]> => {
    const table = tables[way];
    const native = natively.get(guest)!;
    const route = await routeOf(guest, way);
    const before = await connects(guest);
    const circuits = await run(guest, route, [...native.keys()].filter((name) => !table.omitted.has(name)));
    assertGreater(await connects(guest) - before, table.differs.size, "and circuits are circuits");
    let found = contradictions(way, table, native, circuits);
    for (let i = 0; i < AGAIN && found.size > 0; i++) {
      const cases = [...found.keys()].filter((name) => native.has(name));
      if (cases.length === 0) break;
      const again = contradictions(way, table, await run(guest, OWN_STACK, cases), await run(guest, route, cases));
      found = new Map([...found].filter(([name]) => !native.has(name) || again.has(name)));
    }
    return [...found].map(([name, what]) => `${guest.name}, ${way}: ${name} ${what}`);
  };

  await t.step("to another VM: the document's table, on each kernel", async () => {
    const found = (await Promise.all(guests.map((guest) => compare(guest, "to another VM")))).flat();
    if (found.length > 0) fail(found.join("\n\n"));
  });

  await t.step("to the outside: the document's table", async () => {
    const found = await compare(vms.guests[OUTSIDER]!, "to the outside");
    if (found.length > 0) fail(found.join("\n\n"));
  });

  await t.step("to the outside: options of a stream are the host's socket's", async () => {
    await using _server = await startOptionsServer();
    const guest = vms.guests[OUTSIDER]!;
    const client = `${PROGRAMS}/options_client.py`;
    await guest.run("cat >/tmp/options_client.py", { stdin: await Deno.readTextFile(client), check: true });
    for (const when of ["before", "after"]) {
      const native = await new Deno.Command("python3", { args: [client, HOST[0]!.text, `${SERVER_PORT}`, when] })
        .output();
      const expected = new TextDecoder().decode(native.stdout);
      assertMatch(expected, when === "before" ? /ttl 17 tos 0x48; has timer/ : /ttl \d+ tos 0x0; has timer/);
      const { stdout } = await guest.run(`python3 /tmp/options_client.py 10.77.0.1 ${SERVER_PORT} ${when}`, {
        check: true,
      });
      assertEquals(stdout, expected, `options that are set ${when} connect()`);
    }
  });

  await t.step("nothing is left, and the kernels have not complained", async () => {
    for (const guest of guests) {
      const left = async (): Promise<string> =>
        (await guest.run("cd /sys/class/net/csvn0/csvn; cat circuits violations", { check: true })).stdout;
      // Connections by the host's stack end when its far end has.
      await until("the last circuit's end", async () => /^0\n/.test(await left()), 60_000);
      assertEquals(await left(), "0\n0\n");
      assertEquals((await guest.run("dmesg | grep -E 'BUG|WARNING|Oops|refcount'")).stdout, "");
    }
  });

  await t.step("without hairpin the own address is the guest's own stack's", async () => {
    for (const guest of guests) {
      await guest.run("echo 0 >/sys/module/csvn/parameters/hairpin", { check: true });
      const before = await connects(guest);
      await run(guest, await routeOf(guest, "to another VM"), ["read_write", "datagrams"]);
      assertEquals(await connects(guest), before);
    }
  });
});
