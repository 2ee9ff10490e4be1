/**
 * The switch dies, also while a guest reboots: guests are told, nobody hangs, and every guest lives on, minutes later
 * too. Plugged into another switch they go on; a switch that was only late is met again.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { Guest } from "../../tools/testbed/guest.ts";
import { plugDevice, unplugDevice } from "../../tools/testbed/hotplug.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { SwitchProcess } from "../support/switch_process.ts";
import { until } from "../support/until.ts";

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

/** How long after the switch's end guests are looked at once more. */
const LATER_MS = 120_000;
/** A driver takes the switch for dead after 20 s; a busy machine takes longer. */
const PATIENCE_MS = 120_000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Load the module again, as a boot does. */
const RELOAD = "until rmmod csvn; do sleep 0.2; done; insmod $(find / -xdev -name csvn.ko | head -n 1)";

async function noInterface(guest: Guest): Promise<boolean> {
  return (await guest.run("ls /sys/class/net")).stdout === "lo\n";
}

async function hasInterface(guest: Guest): Promise<boolean> {
  return (await guest.run("ls /sys/class/net")).stdout === "csvn0\nlo\n";
}

/** Nothing that a kernel should not say. */
async function isHealthy(guest: Guest): Promise<void> {
  assertEquals((await guest.run("echo alive")).stdout, "alive\n");
  assertEquals((await guest.run("dmesg | grep -E 'BUG|Oops|WARNING|stall|hung'")).stdout, "");
  await guest.run("pgrep nginx >/dev/null || nginx; curl -sSf --max-time 200 -o /dev/null http://127.0.0.1/", {
    check: true,
  });
}

Deno.test("a switch that dies leaves errors, not hangs, and guests that live on", async (t) => {
  await using stack = new AsyncDisposableStack();
  const names = ["web", "client", "third", "fourth"];
  const net = stack.use(await SwitchProcess.start(names));
  const booted = await Promise.all(
    names.map(async (name) =>
      stack.use(
        await Guest.boot({
          name,
          socket: net.socket(name),
          memoryMiB: 384,
          hotplug: name === "client",
          progress: stderrProgress,
        }),
      )
    ),
  );
  const [web, client, third, fourth] = booted as [Guest, Guest, Guest, Guest];
  /** The client's, after the first one. */
  let next: SwitchProcess;
  const address = (await web.run("hostname -I")).stdout.split(" ")[0]!;
  web.spawn("exec socat -u TCP-LISTEN:7000,reuseaddr,fork /dev/null", { stdin: false });
  await web.run("until ss -ltn | grep -q :7000; do sleep 0.1; done", { check: true });
  await client.run("cat >/tmp/sleeper.py", { stdin: SLEEPER, check: true });

  await t.step("a quiet switch is no dead one", async () => {
    await pause(25_000);
    assertEquals(
      (await client.run("cat /sys/class/net/csvn0/operstate; dmesg | grep -c 'does not answer'")).stdout,
      "unknown\n0\n",
    );
  });

  await t.step("a switch that was late is met again, with the guests' listeners", async () => {
    net.signal("SIGSTOP");
    await until(
      "the drivers have let go",
      async () => await noInterface(client) && await noInterface(web),
      PATIENCE_MS,
    );
    net.signal("SIGCONT");
    await until("the interfaces", async () => await hasInterface(client) && await hasInterface(web), PATIENCE_MS);
    await client.run(`until echo x | socat -u - TCP:${address}:7000; do sleep 0.2; done`, {
      check: true,
      timeoutMs: PATIENCE_MS,
    });
  });

  await t.step("whoever sleeps is woken with an error", async () => {
    const sleepers = ["recv", "poll"].map((how) =>
      client.run(`python3 /tmp/sleeper.py ${address} ${how} | tee /tmp/${how}`, { timeoutMs: 2 * PATIENCE_MS })
    );
    await client.run("until grep -q connected /tmp/recv && grep -q connected /tmp/poll; do sleep 0.1; done", {
      check: true,
    });
    await net.kill("SIGKILL");
    // One reboots in the middle of it, and one loads its driver anew, before they know.
    await fourth.run(RELOAD, { check: true });
    third.spawn("sleep 1; busybox reboot -f", { stdin: false });
    const [receiving, polling] = await Promise.all(sleepers);
    assertMatch(receiving!.stdout, /^connected\n(ENETDOWN|ECONNRESET)\n$/);
    assertMatch(polling!.stdout, /^connected\nTrue\n(ENETDOWN|ECONNRESET)\n$/);
  });

  await t.step("connections fail at once, by all programs", async () => {
    await until("the driver has let go", () => noInterface(client), PATIENCE_MS);
    const curl = await client.run(`curl -sS --max-time 200 http://${address}:7000/`);
    assertEquals(curl.code, 7, curl.stderr);
    assertMatch((await client.run("dmesg")).stdout, /the switch does not answer: its circuits are given up/);
  });

  await t.step("minutes later, every guest is as it was, but for its network", async () => {
    const later = pause(LATER_MS);
    await third.ready(PATIENCE_MS);
    await until("the driver has let go", () => noInterface(web), PATIENCE_MS);
    await web.run(`pkill socat; ${RELOAD}; cat /sys/bus/pci/devices/*/config >/dev/null`, { check: true });
    await later;
    for (const guest of booted) {
      await isHealthy(guest);
      assert(await noInterface(guest));
    }
    for (const guest of [web, third, fourth]) {
      assertMatch((await guest.run("dmesg")).stdout, /its switch was lost: it must be plugged in anew/);
    }
  });

  await t.step("they reboot and shut down in order", async () => {
    await third.reset(PATIENCE_MS);
    await isHealthy(third);
    await web.reboot(PATIENCE_MS);
    await isHealthy(web);
    for (const guest of [web, third, fourth]) {
      await guest.shutdown();
      assertEquals((await guest.exited).code, 0);
    }
  });

  /** Plug the client into a switch of its own. */
  const plugAnew = async (): Promise<SwitchProcess> => {
    const next = stack.use(await SwitchProcess.start(["client"]));
    await unplugDevice(client);
    await plugDevice(client, next.socket("client"));
    await until("the interface", () => hasInterface(client), PATIENCE_MS);
    return next;
  };
  const isLost = async (): Promise<void> => {
    await isHealthy(client);
    assert(await noInterface(client));
    assertMatch((await client.run("dmesg")).stdout, /its switch was lost: it must be plugged in anew/);
  };
  /** It reboots, while something is done to its switch: longer than a driver waits before it asks whether the switch is there, and less than it waits for its goodbye. */
  const reboots = async (meanwhile: () => Promise<void> | void): Promise<void> => {
    let reset = false;
    const stop = client.onEvent(({ event }) => void (reset ||= event === "RESET"));
    client.spawn("busybox reboot -f", { stdin: false });
    await pause(6_000);
    await meanwhile();
    await until("its reset", () => reset, PATIENCE_MS);
    stop();
    await client.ready(PATIENCE_MS);
  };

  await t.step("plugged into another switch, one has its network again", async () => {
    next = await plugAnew();
    await isHealthy(client);
  });

  await t.step("it reboots in order while its switch stands still, and meets it again", async () => {
    next.signal("SIGSTOP");
    await reboots(() => next.signal("SIGCONT"));
    await until("the interface", () => hasInterface(client), PATIENCE_MS);
    await isHealthy(client);
  });

  await t.step("it reboots in order while its switch dies", async () => {
    next.signal("SIGSTOP");
    await reboots(() => next.kill("SIGKILL"));
    await isLost();
  });

  await t.step("it reboots in order while it looks for the switch that it has given up", async () => {
    next = await plugAnew();
    next.signal("SIGSTOP");
    await until("the driver has let go", () => noInterface(client), PATIENCE_MS);
    await reboots(() => next.signal("SIGCONT"));
    await isLost();
  });

  await t.step("and is shut down in order", async () => {
    await client.shutdown();
    assertEquals((await client.exited).code, 0);
  });
});
