/**
 * Programs that talk to the world beyond the host, each run twice: in a guest without a NIC, and natively on the host beside the switch.
 * Both print what they saw, and it must be the same.
 *
 * One more program is a function in programs/pairs/client.py, and its name in a list here.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { Guest } from "../../tools/testbed/guest.ts";
import { ensureHostTools } from "../../tools/testbed/host.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { Namespaces, OUTSIDE, SWITCH } from "../support/namespaces.ts";
import { until } from "../support/until.ts";

const project = new URL("../../", import.meta.url).pathname;
const programs = `${project}tests/vm/programs/pairs`;

const SIDE_BY_SIDE = [
  "early_small",
  "early_large",
  "half_close",
  "last_words",
  "send_and_close",
  "send_and_die",
  "close_unread",
  "datagram_and_close",
  "datagram_and_die",
  "datagram_same_port",
  "datagram_then_connected",
  "dead_and_live",
  "connected_to_the_dead",
  "marks",
  "write_much_to_the_gone",
];

/** The network goes away while they wait; what is right. */
const TOLD = /^waiting\n0 ETIMEDOUT\nin time True\n$/;
const TOLD_AFTER_THE_END = /^0 end\nwaiting\nevents 24\nETIMEDOUT\nEPIPE\n0 end\nin time True\n$/;
const WITHOUT_NETWORK = [
  ["keepalive", TOLD],
  ["user_timeout", TOLD],
  ["keepalive_after_the_end", TOLD_AFTER_THE_END],
  ["user_timeout_after_the_end", TOLD_AFTER_THE_END],
] as const;

/** A busy machine takes its time. */
const PATIENCE_MS = 240_000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Hear what a program prints: that it has said something, or is over, and all of it. */
function hear(from: ReadableStream<Uint8Array>, word: string): { heard: Promise<void>; all: Promise<string> } {
  const { promise: heard, resolve } = Promise.withResolvers<void>();
  const all = (async () => {
    const decoder = new TextDecoder();
    let text = "";
    for await (const bytes of from) {
      text += decoder.decode(bytes, { stream: true });
      if (text.includes(word)) resolve();
    }
    resolve();
    return text;
  })();
  return { heard, all };
}

Deno.test("programs see the same of the outside in a guest as natively", async (t) => {
  await using stack = new AsyncDisposableStack();
  await ensureHostTools(["python3"], stderrProgress);
  const net = stack.use(await Namespaces.make());
  const directory = await Deno.makeTempDir({ prefix: "csvn-pairs-" });
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  /** A program in a namespace, killed at the end. */
  const start = (command: Deno.Command): void => {
    const child = command.spawn();
    let ended = false;
    child.status.then(() => ended = true);
    stack.defer(async () => {
      if (!ended) child.kill("SIGKILL");
      await child.status;
    });
  };
  // Whoever vanishes is still known: it is TCP that is to notice.
  const { stdout: mac } = await net.run("outside", "cat /sys/class/net/cable/address");
  await net.run("switch", `ip neigh replace ${OUTSIDE.v4} lladdr ${mac.trim()} dev cable nud permanent`);
  start(net.command("outside", ["python3", `${programs}/servers.py`, OUTSIDE.v4]));
  const log = `${directory}/switch.log`;
  start(net.deno("switch", [
    ...["run", "-A", `${project}mod.ts`, "--vm", `name=web,socket=${directory}/web.sock`],
    // The burst's port, and what a native server beside it would have.
    ...["--publish", "8083=web:8083"],
  ], log));
  await until("the switch", () => Deno.stat(`${directory}/web.sock`).then(() => true, () => false));
  await until(
    "the servers",
    async () => (await net.run("outside", "ss -lun | grep -c :7000")).stdout === "1\n",
    60_000,
  );
  const guest = stack.use(await Guest.boot({ name: "web", socket: `${directory}/web.sock`, progress: stderrProgress }));
  await guest.run("cat >/tmp/client.py", {
    stdin: await Deno.readTextFile(`${programs}/client.py`),
    check: true,
  });

  const key = `${Date.now()}`.slice(-6);
  const inGuest = async (name: string): Promise<string> => {
    const { stdout, stderr } = await guest.run(
      `python3 /tmp/client.py ${name} ${OUTSIDE.v4} ${SWITCH.v4} g${key} 2>&1`,
      { timeoutMs: PATIENCE_MS },
    );
    return stdout + stderr;
  };
  const natively = async (name: string): Promise<string> => {
    const { stdout, stderr } = await net.run(
      "switch",
      `python3 ${programs}/client.py ${name} ${OUTSIDE.v4} ${SWITCH.v4} n${key} 2>&1`,
    );
    return stdout + stderr;
  };
  // Nothing of its first use shall be another's.
  await guest.run(`timeout 20 socat -u /dev/null TCP:${OUTSIDE.v4}:7005`);

  for (const name of SIDE_BY_SIDE) {
    await t.step(name, async () => {
      const [here, there] = [await inGuest(name), await natively(name)];
      assertEquals(here, there);
    });
  }

  await t.step("bursts at a published port are served as by a native server with the same backlog", async () => {
    const server = "exec python3 -m http.server 8083 --bind";
    guest.spawn(`cd /etc; ${server} 0.0.0.0`, { stdin: false });
    await guest.run("until ss -ltn | grep -q :8083; do sleep 0.1; done", { check: true });
    start(net.command("switch", ["sh", "-c", `cd /etc; ${server.replace("8083", "8084")} ${SWITCH.v4}`]));
    await until(
      "the native server",
      async () => (await net.run("switch", "ss -ltn | grep -c :8084")).stdout === "1\n",
      60_000,
    );
    const burst = async (port: number): Promise<string> =>
      (await net.run("outside", `python3 ${programs}/burst.py ${SWITCH.v4} ${port} 40`)).stdout;
    for (let round = 0; round < 3; round++) {
      assertEquals([await burst(8083), await burst(8084)], Array(2).fill("40 served\n"));
    }
  });

  for (const [name, right] of WITHOUT_NETWORK) {
    await t.step(`${name}: a peer that vanishes is noticed`, async () => {
      const native = new Deno.Command("ip", {
        args: [
          ...["netns", "exec", net.name("switch"), "setpriv", "--pdeathsig", "KILL"],
          ...["python3", `${programs}/client.py`, name, OUTSIDE.v4, SWITCH.v4, `n${key}`],
        ],
        stdin: "piped",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const child = guest.spawn(`exec python3 /tmp/client.py ${name} ${OUTSIDE.v4} ${SWITCH.v4} g${key}`);
      const programsOut = [hear(child.stdout, "waiting\n"), hear(native.stdout, "waiting\n")];
      const outputs = Promise.all([programsOut[0]!.all, programsOut[1]!.all]);
      await Promise.all(programsOut.map(({ heard }) => heard));
      // Both are connected; their options are where they belong in a moment.
      await pause(2_000);
      await net.run("outside", "ip link set cable down");
      try {
        const newline = new TextEncoder().encode("\n");
        for (const stdin of [child.stdin, native.stdin]) {
          const writer = stdin.getWriter();
          await writer.write(newline);
          await writer.close();
        }
        const [here, there] = await outputs;
        await native.status;
        assertEquals(here, there);
        assertMatch(there, right);
      } finally {
        await net.run("outside", "ip link set cable up");
      }
    });
  }
});
