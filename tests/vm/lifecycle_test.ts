/**
 * Guests that come, go and die: the others get errors on their sockets, and the next boot works.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { Guest } from "../../tools/testbed/guest.ts";
import { bootGuests } from "../support/guests.ts";
import { until } from "../support/until.ts";

/** Reads from a connection for ever, and says how that ended. */
const READER = `
import errno, socket, sys
s = socket.create_connection((sys.argv[1], 7000))
print("connected", flush=True)
total = 0
try:
    while data := s.recv(1 << 16):
        total += len(data)
    print("end of file after", total)
except OSError as e:
    print(errno.errorcode[e.errno], "after", total)
`;

const SOURCE = "socat -u -b 65536 OPEN:/dev/zero TCP-LISTEN:7000,reuseaddr,fork";

Deno.test("guests come and go", async (t) => {
  await using vms = await bootGuests(["web", "client"], { net: { limits: { arenaIdleMs: 500 } } });
  const { net } = vms;
  let web = vms.guests["web"]!;
  const client = vms.guests["client"]!;
  const address = vms.address("web");
  await client.run("cat >/tmp/reader.py", { stdin: READER, check: true });

  /** Start a transfer, do something to web in its middle, and see how the reader fares. */
  const inMidTransfer = async (act: () => Promise<void>): Promise<string> => {
    web.spawn(`exec ${SOURCE}`, { stdin: false });
    await web.run("until ss -ltn | grep -q :7000; do sleep 0.1; done", { check: true });
    const reading = client.run(`python3 /tmp/reader.py ${address}`, { timeoutMs: 400_000 });
    await until("the transfer", () => net.csvn.status().circuits.open > 0);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await act();
    const { stdout } = await reading;
    assertMatch(stdout, /^connected\nECONNRESET after [1-9]\d+\n$/);
    return stdout;
  };
  const answers = async (): Promise<void> => {
    await web.run("pgrep nginx >/dev/null || nginx", { check: true });
    await client.run(`curl -sSf --max-time 200 -o /dev/null http://${address}/`, { check: true });
  };
  const nothingLeft = (): Promise<unknown> =>
    until("nothing left", () => {
      const { circuits, arenas, plane } = net.csvn.status();
      return circuits.open === 0 && arenas.length === 0 && plane.routes === 0;
    }, 20_000);

  await t.step("rmmod and insmod", async () => {
    await answers();
    await web.run("nginx -s stop; while pgrep nginx; do sleep 0.1; done");
    await until("no circuit", () => net.csvn.status().circuits.open === 0);
    await web.run("rmmod csvn", { check: true });
    assertEquals((await web.run("ls /sys/class/net")).stdout, "lo\n");
    const { stderr } = await client.run(`curl -sS --max-time 200 http://${address}/`);
    assertMatch(stderr, /Failed to connect|No route to host/);
    await web.run("insmod /usr/lib/csvn/csvn.ko && until [ -e /sys/class/net/csvn0 ]; do sleep 0.05; done", {
      check: true,
    });
    await answers();
  });

  await t.step("the device is unbound in mid-transfer, and bound again", async () => {
    await inMidTransfer(async () => {
      await web.run(
        "cd /sys/bus/virtio/drivers/csvn && for d in virtio*; do echo $d >unbind; echo $d >/tmp/dev; done",
        {
          check: true,
        },
      );
    });
    await web.run("cat /tmp/dev >/sys/bus/virtio/drivers/csvn/bind", { check: true });
    await web.run("pkill socat; true");
    await until("web is up", () => net.csvn.status().vms.every((vm) => vm.state === "ready"));
    // nginx has listened all the time: its listener was told to the switch anew.
    await client.run(`curl -sSf --max-time 200 -o /dev/null http://${address}/`, { check: true });
  });

  await t.step("a guest reboots in mid-transfer", async () => {
    await inMidTransfer(() => web.reset());
    await answers();
  });

  await t.step("QEMU is killed with -9 in mid-transfer", async () => {
    await inMidTransfer(() => web.kill());
    await until("web is gone", () => net.csvn.status().vms.length === 1);
    const { code } = await client.run(`curl -sS --max-time 200 http://${address}/`);
    assertEquals(code, 7);
    web = await Guest.boot({ name: "web", socket: vms.socket("web") });
    try {
      await answers();
    } finally {
      await web.shutdown();
    }
  });

  await t.step("nothing is left of any of them", async () => {
    await nothingLeft();
    assertEquals((await client.run("cat /sys/class/net/csvn0/csvn/circuits")).stdout, "0\n");
    assert(!net.log.some((line) => line.includes("a bug of csvn's")), net.log.join("\n"));
  });
});
