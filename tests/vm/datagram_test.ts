/**
 * Datagrams between two guests without a NIC, by unmodified programs.
 *
 * @module
 */

import { assertEquals, assertGreater, assertMatch } from "@std/assert";
import type { VerdictFunction } from "../../src/circuit/verdict.ts";
import { bootGuests } from "../support/guests.ts";
import { until } from "../support/until.ts";

const DATAGRAMS = await Deno.readTextFile(new URL("./programs/datagrams.py", import.meta.url));

Deno.test("datagrams of unmodified programs between two guests without a NIC", async (t) => {
  // Nobody is told anything of port 9999.
  const verdict: VerdictFunction = ({ destination: { port } }) => ({
    allow: port !== 9999,
    reason: "test",
    onDeny: "drop",
  });
  await using vms = await bootGuests(["server", "client"], { net: { verdict, limits: { arenaIdleMs: 500 } } });
  const { net } = vms;
  const server = vms.guests["server"]!;
  const client = vms.guests["client"]!;
  const address = vms.address("server");
  for (const guest of [server, client]) await guest.run("cat >/tmp/datagrams.py", { stdin: DATAGRAMS, check: true });

  await t.step("what udp(7) says", async () => {
    const { stdout: own } = await server.run("ip -6 -o addr show dev csvn0 scope global", { check: true });
    const address6 = /inet6 (fd77:[0-9a-f:]+)\//.exec(own)?.[1];
    const serving = server.spawn("exec python3 -u /tmp/datagrams.py serve 2>/tmp/serve.log", { stdin: false });
    await server.run("until ss -lun | grep -q :7200; do sleep 0.1; done", { check: true });
    const { stdout } = await client.run(`python3 -u /tmp/datagrams.py check ${address} ${address6} 2>&1`, {
      timeoutMs: 400_000,
    });
    assertMatch(stdout, /^all \d+ passed$/m, stdout);
    await serving.kill();
  });

  await t.step("the guest's own datagrams are as before", async () => {
    const serving = client.spawn("exec python3 -u /tmp/datagrams.py serve 2>/tmp/serve.log", { stdin: false });
    await client.run("until ss -lun | grep -q :7200; do sleep 0.1; done", { check: true });
    const { stdout } = await client.run("python3 -u /tmp/datagrams.py check 127.0.0.1 ::1 2>&1", {
      timeoutMs: 400_000,
    });
    assertMatch(stdout, /^all \d+ passed$/m, stdout);
    await serving.kill();
  });

  await t.step("socat, both ways", async () => {
    for (const [from, to, at] of [[client, server, address], [server, client, vms.address("client")]] as const) {
      to.spawn("exec socat -t 120 -T 120 UDP4-RECVFROM:7001,fork 'SYSTEM:tr a-z A-Z'", { stdin: false });
      await to.run("until ss -lun | grep -q :7001; do sleep 0.1; done", { check: true });
      for (const word of ["one", "two", "three"]) {
        // It would wait for more answers: it is over with the first.
        const socat = `socat -t 120 -T 120 - UDP4-SENDTO:${at}:7001 <<< ${word}`;
        const { stdout } = await from.run(`read -r line < <(exec ${socat}); kill $!; echo $line`, { check: true });
        assertEquals(stdout, `${word.toUpperCase()}\n`);
      }
      await to.run("pkill socat");
    }
  });

  await t.step("iperf3 -u: sizes are kept, and nearly all arrive", async () => {
    for (const [size, mode] of [[1400, ""], [1400, "-R"], [32000, ""]] as const) {
      // One server for each: between two tests it closes its listener, and resets who has connected meanwhile.
      await server.run("while pgrep iperf3; do sleep 0.1; done", { check: true });
      server.spawn("exec iperf3 -s -1", { stdin: false });
      await server.run("until ss -ltn | grep -q :5201; do sleep 0.1; done", { check: true });
      const { stdout } = await client.run(`iperf3 -u -c ${address} -b 5M -l ${size} -t 3 -J ${mode}`, {
        timeoutMs: 400_000,
      });
      const { end, start, error } = JSON.parse(stdout);
      assertEquals(error, undefined);
      assertEquals(start.test_start.blksize, size);
      assertGreater(end.sum.packets, 40);
      assertEquals(end.sum.lost_packets < end.sum.packets / 5, true, `${end.sum.lost_packets} of ${end.sum.packets}`);
    }
  });

  await t.step("unused circuits are closed, and made anew by the next datagram", async () => {
    for (const guest of [server, client]) await guest.run("echo 2 >/sys/module/csvn/parameters/datagram_idle");
    const serving = server.spawn("exec python3 -u /tmp/datagrams.py serve", { stdin: false });
    await server.run("until ss -lun | grep -q :7200; do sleep 0.1; done", { check: true });
    const program = `
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
for n in range(3):
    s.sendto(b"e%d" % n, (sys.argv[1], 7200))
    assert s.recv(100) == b"e%d" % n
    print(open("/sys/class/net/csvn0/csvn/circuits").read().strip(), flush=True)
    for _ in range(200):
        time.sleep(0.1)
        if open("/sys/class/net/csvn0/csvn/circuits").read().strip() == "0":
            break
    else:
        raise SystemExit("still open")
`;
    await client.run("cat >/tmp/idle.py", { stdin: program, check: true });
    const { stdout } = await client.run(`python3 /tmp/idle.py ${address} 2>&1`, { timeoutMs: 400_000 });
    assertEquals(stdout, "1\n1\n1\n");
    await serving.kill();
  });

  await t.step(
    "what closed sockets wait for in vain is given up soon, and takes no place and no port from others",
    async () => {
      const program = `
import errno, socket, sys, time
dropped = lambda: int(open("/sys/class/net/csvn0/csvn/datagrams_dropped").read())
before = dropped()
def send(port=0):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    s.sendto(b"in vain", (sys.argv[1], 9999))
    s.close()
for _ in range(1500):
    send()
send(7300)
s = socket.socket()
s.settimeout(60)
print(errno.errorcode.get(s.connect_ex((sys.argv[1], 7299))))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7300))
s.settimeout(1)
for _ in range(60):
    s.sendto(b"e", (sys.argv[1], 7200))
    try:
        print(s.recv(100))
        break
    except TimeoutError:
        pass
for _ in range(600):
    if dropped() - before >= 1501:
        print("dropped, and counted")
        break
    time.sleep(0.1)
`;
      const serving = server.spawn("exec python3 -u /tmp/datagrams.py serve 2>/tmp/serve.log", { stdin: false });
      await server.run("until ss -lun | grep -q :7200; do sleep 0.1; done", { check: true });
      await client.run("cat >/tmp/in_vain.py", { stdin: program, check: true });
      const { stdout } = await client.run(`python3 /tmp/in_vain.py ${address} 2>&1`, { timeoutMs: 400_000 });
      assertEquals(stdout, "ECONNREFUSED\nb'e'\ndropped, and counted\n");
      await until("no attempt", () => net.csvn.status().vms.every(({ attempts }) => attempts === 0), 30_000);
      await serving.kill();
    },
  );

  await t.step("sockets outlive the device", async () => {
    const program = `
import errno, socket, subprocess, sys, time
def make():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10)
    return s
bound, connected, silent = make(), make(), make()
bound.bind(("", 7300))
for s in (connected, silent):
    s.connect((sys.argv[1], 7200))
def echo():
    bound.sendto(b"e1", (sys.argv[1], 7200))
    connected.send(b"e2")
    assert bound.recv(10) == b"e1" and connected.recv(10) == b"e2"
echo()
subprocess.check_call("cd /sys/bus/virtio/drivers/csvn && for d in virtio*; do echo $d >unbind; echo $d >/tmp/dev; done", shell=True)
assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ENETDOWN
for s in (bound, connected):
    try:
        s.sendto(b"x", (sys.argv[1], 7200))
        raise SystemExit("sent")
    except OSError as e:
        assert e.errno in (errno.ENETUNREACH, errno.EINVAL), e
subprocess.check_call("cat /tmp/dev >/sys/bus/virtio/drivers/csvn/bind", shell=True)
for _ in range(100):
    if "10.77" in subprocess.check_output(["ip", "-4", "route"], text=True):
        break
    time.sleep(0.1)
echo()
print("ok")
`;
    const serving = server.spawn("exec python3 -u /tmp/datagrams.py serve 2>/tmp/serve.log", { stdin: false });
    await server.run("until ss -lun | grep -q :7200; do sleep 0.1; done", { check: true });
    await client.run("cat >/tmp/replug.py", { stdin: program, check: true });
    const { stdout } = await client.run(`python3 /tmp/replug.py ${address} 2>&1`, { timeoutMs: 400_000 });
    assertEquals(stdout, "ok\n");
    await serving.kill();
  });

  await t.step("nothing is left behind", async () => {
    await until(
      "nothing left",
      () => net.csvn.status().circuits.open === 0 && net.csvn.status().arenas.length === 0,
      30_000,
    );
    for (const guest of [server, client]) {
      assertEquals((await guest.run("cat /sys/class/net/csvn0/csvn/circuits")).stdout, "0\n");
      assertEquals((await guest.run("cat /sys/class/net/csvn0/csvn/violations")).stdout, "0\n");
      assertEquals((await guest.run("dmesg | grep -E 'BUG|WARNING|Oops|refcount'")).stdout, "");
    }
  });
});
