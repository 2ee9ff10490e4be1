/**
 * What guests cannot do to each other, with real guests: a third VM sees nothing of a pair, a peer that lies about its cursors hurts
 * its own circuits only, policy is a proper errno.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { FakeDriver } from "../support/fake_driver.ts";
import { type FakeCircuit, State } from "../support/fake_circuit.ts";
import { bootGuests } from "../support/guests.ts";
import { until } from "../support/until.ts";

/** Reads the window (BAR 4 of the device) at some offsets, past the driver, and counts the bytes that are not zero. */
const WINDOW = `
import glob, mmap, os, sys
for device in glob.glob("/sys/bus/pci/devices/*"):
    if open(device + "/device").read().strip() == "0x1055":
        start, end, _ = (int(word, 16) for word in open(device + "/resource").readlines()[4].split())
        fd = os.open("/dev/mem", os.O_RDWR)
        found = 0
        for offset in map(int, sys.argv[1:]):
            with mmap.mmap(fd, 1 << 20, offset=start + offset) as window:
                found += (1 << 20) - window[:].count(0)
        print(end - start + 1, found)
`;

/** Reads from a connection that was accepted, and says how it ended. */
const SERVER = `
import errno, socket, threading
server = socket.create_server(("", 7000))
def handle(c):
    try:
        while data := c.recv(1 << 16):
            print("got", len(data), flush=True)
            c.sendall(data)
        print("end of file", flush=True)
    except OSError as e:
        print(errno.errorcode[e.errno], flush=True)
while True:
    threading.Thread(target=handle, args=server.accept()[:1]).start()
`;

Deno.test("guests are kept apart", async (t) => {
  await using vms = await bootGuests(["web", "client", "third"], {
    others: ["liar"],
    guest: { kernelArgs: ["iomem=relaxed"] }, // so that root may look at the device's memory
    net: {
      verdict: ({ from, destination }) =>
        destination.port === 7003
          ? { allow: false, reason: `${from} may not` }
          : { allow: true, reason: "all else may" },
    },
  });
  const { net } = vms;
  const web = vms.guests["web"]!;
  const client = vms.guests["client"]!;
  const third = vms.guests["third"]!;
  const address = vms.address("web");
  await web.run("head -c 16M /dev/urandom >/var/www/html/file; nginx", { check: true });

  await t.step("a third VM's window holds nothing of the pair's arena", async () => {
    web.spawn("exec socat -u OPEN:/dev/urandom TCP-LISTEN:7002,reuseaddr", { stdin: false });
    await web.run("until ss -ltn | grep -q :7002; do sleep 0.1; done", { check: true });
    const reading = client.spawn(`exec socat -u TCP:${address}:7002 OPEN:/dev/null`, { stdin: false });
    await until("a circuit", () => net.csvn.status().circuits.open > 0);
    for (const guest of [client, third]) await guest.run("cat >/tmp/window.py", { stdin: WINDOW, check: true });
    const offsets = Array.from({ length: 8 }, (_, i) => i << 20).join(" ");
    const seen = await client.run(`python3 /tmp/window.py ${offsets}`, { check: true });
    assertMatch(seen.stdout, /^17179869184 [1-9]\d{4,}\n$/, "the client's own window shows the arena");
    const unseen = await third.run(`python3 /tmp/window.py ${offsets}`, { check: true });
    assertEquals(unseen.stdout, "17179869184 0\n");
    await reading.kill();
  });

  await t.step("a peer that lies about its cursors loses its circuit, and no other", async () => {
    await web.run("cat >/tmp/server.py", { stdin: SERVER, check: true });
    web.spawn("exec python3 /tmp/server.py >/tmp/server.log", { stdin: false });
    await web.run("until ss -ltn | grep -q :7000; do sleep 0.1; done", { check: true });
    await using liar = await FakeDriver.boot(vms.socket("liar"));
    const lies: ((c: FakeCircuit) => void | Promise<void>)[] = [
      (c) => c.own.setBigUint64(0, 1n << 40n, true), // tail far ahead
      (c) => c.own.setBigUint64(0, BigInt(c.ringBytes) + 1n, true), // tail one too far
      (c) => c.own.setBigUint64(0, (1n << 64n) - 1n, true), // tail backwards
      async (c) => { // head ahead of what was sent, which is looked at when the ring seems full
        c.own.setBigUint64(64, 1n << 50n, true);
        for (let sent = 0; sent <= c.ringBytes;) {
          sent += await until("room", () => c.write(new Uint8Array(65536)) || undefined);
          c.ring();
        }
      },
    ];
    for (const [i, lie] of lies.entries()) {
      await web.run(": >/tmp/server.log");
      net.log.length = 0;
      const circuit = await liar.mustConnect(address, 7000);
      const honest = await liar.mustConnect(address, 7000);
      honest.write(new TextEncoder().encode("hi"));
      honest.ring();
      await until("the echo", () => new TextDecoder().decode(honest.read()) === "hi");
      await lie(circuit);
      circuit.ring();
      await until(
        `the switch hears of lie ${i}`,
        () => net.log.some((line) => line.includes("liar broke the ring's rules, says web")),
        10_000,
      );
      await until("the reset state", () => (circuit.peerState & State.RESET) !== 0);
      assertStringIncludes((await web.run("cat /tmp/server.log")).stdout, "ECONNRESET");
      honest.write(new TextEncoder().encode("still"));
      honest.ring();
      await until("the echo", () => new TextDecoder().decode(honest.read()) === "still");
      await honest.close();
      await circuit.close();
    }
    await client.run(`curl -sSf -o /dev/null http://${address}/file`, { check: true });
  });

  await t.step("nonsense in the control page's state", async () => {
    await using liar = await FakeDriver.boot(vms.socket("liar"));
    for (const state of [0xffff_ffff, State.RESET, State.CLOSED, 0x8000_0000]) {
      const circuit = await liar.mustConnect(address, 7000);
      circuit.setState(state);
      circuit.own.setUint32(128, 12345, true);
      circuit.own.setUint32(132, 54321, true);
      circuit.ring();
      await circuit.close();
    }
    await client.run(`curl -sSf -o /dev/null http://${address}/file`, { check: true });
  });

  await t.step("a denied connection is ECONNREFUSED, and the log says why", async () => {
    web.spawn("exec socat -t 120 TCP-LISTEN:7003,fork EXEC:date", { stdin: false });
    await web.run("until ss -ltn | grep -q :7003; do sleep 0.1; done", { check: true });
    const { stdout } = await client.run(
      `python3 -c 'import errno, socket; s = socket.socket(); print(errno.errorcode[s.connect_ex(("${address}", 7003))])'`,
      { check: true },
    );
    assertEquals(stdout, "ECONNREFUSED\n");
    assert(
      net.log.some((line) => /denied: client .* -> web .*:7003: client may not/.test(line)),
      net.log.join("\n"),
    );
  });

  await t.step("the kernels have nothing to complain of", async () => {
    for (const guest of [web, client, third]) {
      const { stdout } = await guest.run(
        "dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace|scheduling while|general protection' || true",
      );
      assertEquals(stdout, "", `${guest.name}: ${stdout}`);
    }
  });
});
