/**
 * The driver under stress: many sockets, many processes, no memory, a module and a device that come and go under load.
 * The guests' kernels check their allocations (poison, red zones, KFENCE); Debian's have no lock debugging.
 *
 * @module
 */

import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { plugDevice, unplugDevice } from "../../tools/testbed/hotplug.ts";
import type { Guest, GuestCommand } from "../../tools/testbed/guest.ts";
import { collect } from "../../tools/testbed/streams.ts";
import { bootGuests } from "../support/guests.ts";
import { until } from "../support/until.ts";

const PROGRAM = await Deno.readTextFile(new URL("./programs/stress.py", import.meta.url));
const CHECKS = ["slub_debug=FZP", "kfence.sample_interval=20"];
const SOCKETS = 10_000;
const RELOADS = 100;
const UNPLUGS = 5;
/** `BUG:` of KASAN's kind, of locks and of pages; refcount's and list's warnings; what SLUB and KFENCE say. */
const COMPLAINTS =
  "BUG|WARNING|Oops|refcount|list_(add|del) corruption|Object already free|Poison overwritten|hung task";

Deno.test("the driver under stress", async (t) => {
  await using vms = await bootGuests(["server", "client"], {
    guest: { hotplug: true, kernelArgs: CHECKS, memoryMiB: 1024 },
    net: { limits: { arenaIdleMs: 500 } },
  });
  const server = vms.guests["server"]!;
  const client = vms.guests["client"]!;
  const at = vms.address("server");
  for (const guest of [server, client]) {
    await guest.run("cat >/tmp/stress.py", { stdin: PROGRAM, check: true });
    const { stdout } = await guest.run(
      "cd /sys/kernel/slab/kmalloc-1k; cat poison red_zone; cat /sys/module/kfence/parameters/sample_interval",
    );
    assertEquals(stdout, "1\n1\n20\n", "the kernel checks its allocations");
  }

  const serve = async (what: string): Promise<GuestCommand> => {
    const serving = server.spawn(`exec python3 /tmp/stress.py ${what}`, { stdin: false });
    await server.run("for i in $(seq 200); do ss -ltn | grep -q :7500 && exit; sleep 0.1; done; exit 1", {
      check: true,
    });
    return serving;
  };
  /** Processes on the client that churn until the end of `work`; how many transfers went well. */
  const churning = async (processes: number, work: () => Promise<void>): Promise<number> => {
    const running = Array.from(
      { length: processes },
      () => client.spawn(`exec python3 /tmp/stress.py churn ${at} 2>&1`, { stdin: false }),
    );
    const said = running.map(({ stdout }) => collect(stdout, 1 << 20));
    await work();
    await client.run("pkill -TERM -f '[s]tress.py churn'");
    const lines = await Promise.all(said);
    await Promise.all(running.map(({ status }) => status));
    for (const line of lines) assertMatch(line, /^\d+ \d+\n$/);
    return lines.reduce((sum, line) => sum + Number(line.split(" ")[0]), 0);
  };
  const complaints = async (guest: Guest): Promise<string> =>
    (await guest.run(`dmesg | grep -E '${COMPLAINTS}' | grep -v 'Kernel command line'`)).stdout;
  const quiet = async (): Promise<void> => {
    await until("nothing left", () => {
      const { circuits, arenas, plane } = vms.net.csvn.status();
      return circuits.open === 0 && arenas.length === 0 && plane.routes === 0;
    }, 30_000);
    for (const guest of [server, client]) assertEquals(await complaints(guest), "");
  };

  await t.step("100 processes in accept() on one listener", async () => {
    const serving = await serve("crowd 100");
    const { stdout } = await client.run(`python3 /tmp/stress.py dial ${at} 1000 2>&1`, { timeoutMs: 400_000 });
    const [, answers, processes] = /^(\d+) (\d+)\n$/.exec(stdout) ?? [stdout];
    assertEquals(answers, "1000", stdout);
    assertGreater(Number(processes), 50, "woken in turn");
    await serving.kill();
    await server.run("pkill -KILL -f '[s]tress.py crowd'");
    await quiet();
  });

  await t.step(`${SOCKETS} connections at once, all used`, async () => {
    const serving = await serve("hold");
    const running = client.run(`python3 /tmp/stress.py open ${at} ${SOCKETS} 2>&1`, { timeoutMs: 400_000 });
    let most = 0;
    const timer = setInterval(() => most = Math.max(most, vms.net.csvn.status().circuits.open), 50);
    try {
      assertEquals((await running).stdout, `${SOCKETS} ${SOCKETS}\n`);
    } finally {
      clearInterval(timer);
    }
    assertEquals(most, SOCKETS);
    await serving.kill();
    await quiet();
  });

  await t.step("memory runs out while connections come and go", async () => {
    const serving = await serve("echo");
    const done = await churning(3, async () => {
      for (let i = 0; i < 3; i++) {
        await client.run("echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero", { timeoutMs: 400_000 });
      }
      // Sockets, and their memory, where a group has none left.
      const { stdout } = await client.run(
        "cd /sys/fs/cgroup; echo +memory >cgroup.subtree_control; mkdir -p small; echo 24M >small/memory.max; " +
          `echo $$ >small/cgroup.procs; python3 /tmp/stress.py open ${at} 9000 >/dev/null 2>&1; echo $?`,
        { timeoutMs: 400_000 },
      );
      assert(stdout !== "0\n", "it cannot have had enough");
    });
    assertGreater(done, 10);
    assertMatch((await client.run("dmesg | grep -c 'Out of memory: Killed process'")).stdout, /^[3-9]/);
    await serving.kill();
    await quiet();
  });

  await t.step("rmmod and insmod under load", async () => {
    const serving = await serve("echo");
    const done = await churning(2, async () => {
      const { stdout } = await client.run(
        // For 20 s, and on until it was possible often enough: sockets that are in use keep it.
        "n=0; end=$(($(date +%s) + 20)); late=$((end + 200)); " +
          "while t=$(date +%s); [ $t -lt $end ] || { [ $n -le 3 ] && [ $t -lt $late ]; }; do " +
          "rmmod csvn 2>/dev/null && { n=$((n + 1)); insmod /usr/lib/csvn/csvn.ko; }; sleep 0.02; done; echo $n",
        { check: true, timeoutMs: 400_000 },
      );
      assertGreater(Number(stdout), 3, "it was possible now and then");
    });
    assertGreater(done, 10);
    await serving.kill();
    await quiet();
  });

  await t.step("the device is unplugged and plugged in again under load", async () => {
    let serving = await serve("echo");
    const done = await churning(4, async () => {
      for (let i = 0; i < UNPLUGS; i++) {
        const guest = i % 2 === 0 ? server : client;
        await unplugDevice(guest);
        await new Promise((resolve) => setTimeout(resolve, 500));
        await plugDevice(guest, vms.socket(guest === server ? "server" : "client"));
        await until("both are up", () => {
          const states = vms.net.csvn.status().vms.map(({ state }) => state);
          return states.length === 2 && states.every((state) => state === "ready");
        }, 30_000);
        await new Promise((resolve) => setTimeout(resolve, 1500));
      }
    });
    assertGreater(done, 20);
    await serving.kill();
    serving = await serve("crowd 1");
    assertEquals((await client.run(`python3 /tmp/stress.py dial ${at} 5 2>&1`)).stdout, "5 1\n");
    await serving.kill();
    await server.run("pkill -KILL -f '[s]tress.py crowd'");
    await quiet();
  });

  await t.step(`the module is loaded ${RELOADS} times`, async () => {
    const { stdout } = await client.run(
      `for i in $(seq ${RELOADS}); do rmmod csvn && insmod /usr/lib/csvn/csvn.ko || exit; ` +
        "until [ -e /sys/class/net/csvn0 ]; do sleep 0.01; done; done; echo done",
      { timeoutMs: 400_000 },
    );
    assertEquals(stdout, "done\n");
    const serving = await serve("crowd 1");
    assertEquals((await client.run(`python3 /tmp/stress.py dial ${at} 5 2>&1`)).stdout, "5 1\n");
    await serving.kill();
    await server.run("pkill -KILL -f '[s]tress.py crowd'");
    await quiet();
    assert(!vms.net.log.some((line) => line.includes("a bug of csvn's")));
  });
});
