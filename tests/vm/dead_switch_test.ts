/**
 * The switch dies: guests are told, nobody hangs; and plugged into another switch they go on.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { Guest } from "../../tools/testbed/guest.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { until } from "../support/until.ts";

const project = new URL("../../", import.meta.url).pathname;

/** Waits for bytes that never come, and says how that ended, and when. */
const SLEEPER = `
import errno, select, socket, sys, time
s = socket.create_connection((sys.argv[1], 7000))
print("connected", flush=True)
if sys.argv[2] == "poll":
    p = select.poll()
    p.register(s, select.POLLIN)
    print(p.poll()[0][1] & select.POLLERR != 0)
try:
    print(s.recv(1))
except OSError as e:
    print(errno.errorcode[e.errno], flush=True)
`;

Deno.test("a switch that dies leaves errors, not hangs", async (t) => {
  await using stack = new AsyncDisposableStack();
  const directory = await Deno.makeTempDir({ prefix: "csvn-dead-" });
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  const log = `${directory}/switch.log`;
  // Its output goes to a file: a pipe that nobody reads would stop it.
  const child = new Deno.Command("sh", {
    args: [
      ...["-c", 'log=$1; shift; exec "$@" >"$log" 2>&1', "sh", log, Deno.execPath()],
      ...["run", "-A", `${project}mod.ts`, "--no-outside"],
      ...["web", "client"].flatMap((name) => ["--vm", `name=${name},socket=${directory}/${name}.sock`]),
    ],
  }).spawn();
  let dead = false;
  stack.defer(async () => {
    if (!dead) child.kill("SIGKILL");
    await child.status;
  });
  await until("the switch", async () => (await Deno.readTextFile(log).catch(() => "")).includes("client.sock"), 20_000);
  const [web, client] = await Promise.all(
    ["web", "client"].map((name) =>
      Guest.boot({ name, socket: `${directory}/${name}.sock`, progress: stderrProgress })
    ),
  ) as [Guest, Guest];
  stack.use(web);
  stack.use(client);
  const address = (await web.run("hostname -I")).stdout.split(" ")[0]!;
  web.spawn("exec socat -u TCP-LISTEN:7000,reuseaddr,fork /dev/null", { stdin: false });
  await web.run("until ss -ltn | grep -q :7000; do sleep 0.1; done", { check: true });
  await client.run("cat >/tmp/sleeper.py", { stdin: SLEEPER, check: true });

  await t.step("a quiet switch is no dead one", async () => {
    await new Promise((resolve) => setTimeout(resolve, 25_000));
    assertEquals(
      (await client.run("cat /sys/class/net/csvn0/operstate; dmesg | grep -c 'does not answer'")).stdout,
      "unknown\n0\n",
    );
  });

  await t.step("whoever sleeps is woken with an error", async () => {
    const sleepers = ["recv", "poll"].map((how) =>
      client.run(`python3 /tmp/sleeper.py ${address} ${how} | tee /tmp/${how}`, { timeoutMs: 90_000 })
    );
    await client.run("until grep -q connected /tmp/recv && grep -q connected /tmp/poll; do sleep 0.1; done", {
      check: true,
    });
    child.kill("SIGKILL");
    dead = true;
    const [receiving, polling] = await Promise.all(sleepers);
    assertMatch(receiving!.stdout, /^connected\n(ENETDOWN|ECONNRESET)\n$/);
    assertMatch(polling!.stdout, /^connected\nTrue\n(ENETDOWN|ECONNRESET)\n$/);
  });

  await t.step("connections fail at once, by all programs", async () => {
    await until("the driver has let go", async () => (await client.run("ls /sys/class/net")).stdout === "lo\n", 60_000);
    const began = performance.now();
    assertEquals((await client.run(`curl -sS --max-time 20 http://${address}:7000/`)).code, 7);
    assert(performance.now() - began < 15_000);
    assertMatch((await client.run("dmesg")).stdout, /the switch does not answer: its circuits are given up/);
    assertEquals((await client.run("dmesg | grep -E 'BUG|Oops|WARNING|stall|hung'")).stdout, "");
    // The guest's own stack is as it was.
    await client.run("nginx && curl -sSf --max-time 20 -o /dev/null http://127.0.0.1/", { check: true });
    await client.run("rmmod csvn; true");
  });
});
