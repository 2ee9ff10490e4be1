/**
 * Guests without a NIC and the world beyond the host, which is a network namespace here: egress, published ports, what is refused.
 *
 * @module
 */

import { assert, assertEquals, assertGreater, assertLess, assertMatch, assertStringIncludes } from "@std/assert";
import type { SwitchStatus } from "../../src/host/switch.ts";
import { Guest } from "../../tools/testbed/guest.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { Namespaces, OUTSIDE, SWITCH } from "../support/namespaces.ts";
import { until } from "../support/until.ts";

const project = new URL("../../", import.meta.url).pathname;
const decoder = new TextDecoder();

/** A program in a namespace, its output in a file; ended by disposal. */
function start(net: Namespaces, which: "switch" | "outside", args: string[], log: string): AsyncDisposable {
  const child = net.deno(which, args, log).spawn();
  let ended = false;
  child.status.then(() => ended = true);
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      if (!ended) child.kill("SIGTERM");
      await child.status;
    },
  };
}

Deno.test("guests and the world beyond the host", async (t) => {
  await using stack = new AsyncDisposableStack();
  const net = stack.use(await Namespaces.make());
  const directory = await Deno.makeTempDir({ prefix: "csvn-host-" });
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  stack.use(
    start(net, "outside", ["run", "-A", `${project}tests/vm/programs/outside.ts`], `${directory}/outside.log`),
  );
  const api = `${directory}/api.sock`;
  const log = `${directory}/switch.log`;
  stack.use(
    start(net, "switch", [
      ...["run", "-A", `${project}mod.ts`, "--api", api, "--log-level", "debug"],
      ...["--vm", `name=web,socket=${directory}/web.sock,address=10.77.0.10`],
      ...["--publish", "8080=web:80", "--publish", `${SWITCH.v4}:5000=web:5000/udp`],
      ...["--allow-host", "127.0.0.1:9000"],
    ], log),
  );
  await until("the switch", () => Deno.stat(`${directory}/web.sock`).then(() => true, () => false));
  const status = async (): Promise<SwitchStatus> => {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `${project}mod.ts`, "status", "--json", "--api", api],
    }).output();
    return JSON.parse(decoder.decode(stdout));
  };
  const logged = async (pattern: RegExp): Promise<boolean> => pattern.test(await Deno.readTextFile(log));
  const web = stack.use(
    await Guest.boot({ name: "web", socket: `${directory}/web.sock`, progress: stderrProgress }),
  );
  const curl = async (args: string): Promise<{ code: number; stdout: string; stderr: string }> =>
    await web.run(`curl -sS --max-time 200 ${args}`, { timeoutMs: 400_000 });

  await curl(`http://${OUTSIDE.v4}/`);
  const before = await status();

  await t.step("curl: 64 MiB each way, equal checksums, IPv4 and IPv6", async () => {
    assertEquals((await curl(`http://${OUTSIDE.v4}/`)).stdout, `hello ::ffff:${SWITCH.v4}\n`);
    assertEquals((await curl(`-g http://[${OUTSIDE.v6}]/`)).stdout, `hello ${SWITCH.v6}\n`);
    const { stdout: sum } = await curl(`http://${OUTSIDE.v4}/checksum`);
    const { stdout: got } = await curl(`http://${OUTSIDE.v4}/file | tee /tmp/file | sha256sum`);
    assertEquals(got.split(" ")[0], sum.trim());
    const { stdout: put } = await curl(`-T /tmp/file http://${OUTSIDE.v4}/put`);
    assertEquals(put, sum);
  });

  await t.step("keep-alive, and 20,000 connections one after another", async () => {
    const { stdout } = await curl(`-w '%{num_connects}\\n' -o /dev/null -o /dev/null http://${OUTSIDE.v4}/{1,2}`);
    assertEquals(stdout, "1\n0\n");
    const { code, stderr } = await web.run(
      `python3 -c '
import socket
for n in range(20000):
    with socket.create_connection(("${OUTSIDE.v4}", 80)) as s:
        s.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
        got = b""
        while data := s.recv(4096):
            got += data
        assert b"hello" in got, got
'`,
      { timeoutMs: 400_000 },
    );
    assertEquals([code, stderr], [0, ""]);
  });

  await t.step("connect errors, each as itself", async () => {
    const errno = async (address: string, port: number, timeout = 20): Promise<string> =>
      (await web.run(
        `python3 -c '
import errno, socket
s = socket.socket()
s.settimeout(${timeout})
try: print(errno.errorcode.get(s.connect_ex(("${address}", ${port}))))
except OSError as e: print(e)'`,
      )).stdout.trim();
    assertEquals(await errno(OUTSIDE.v4, 84), "ECONNREFUSED");
    assertEquals(await errno("198.18.77.99", 80), "EHOSTUNREACH"); // nobody answers ARP
    assertEquals(await errno("203.0.113.1", 80), "ENETUNREACH"); // no route in the namespace
    await net.run("switch", "echo 1 >/proc/sys/net/ipv4/tcp_syn_retries");
    assertEquals(await errno("198.18.99.1", 80, 60), "ETIMEDOUT"); // swallowed on the way
  });

  await t.step("a reset of the server arrives as a reset", async () => {
    const { stdout } = await web.run(
      `python3 -c '
import errno, socket
s = socket.create_connection(("${OUTSIDE.v4}", 81))
s.sendall(b"x" * 100)
try:
    s.recv(10); print("no")
except OSError as e: print(errno.errorcode[e.errno])'`,
      { check: true },
    );
    assertEquals(stdout, "ECONNRESET\n");
  });

  await t.step("a reset of the guest arrives as a reset, a close as the end of file", async () => {
    for (const [linger, end] of [[1, "ECONNRESET"], [0, "end of file"]] as const) {
      await web.run(
        `python3 -c '
import socket, struct
s = socket.create_connection(("${OUTSIDE.v4}", 85))
s.sendall(b"x")
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", ${linger}, 0))
s.close()'`,
        { check: true },
      );
      let ends = "";
      await until(end, async () => (ends = (await curl(`http://${OUTSIDE.v4}/ends`)).stdout) !== "");
      assertEquals(ends, end);
    }
  });

  await t.step("datagrams to the outside: sizes, many sockets, a port where nobody is", async () => {
    const { stdout, stderr } = await web.run(
      `python3 -c '
import errno, os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(120)
for size in (0, 1, 1400, 8192, 65507):
    sent = os.urandom(size)
    s.sendto(sent, ("${OUTSIDE.v4}", 82))
    got, source = s.recvfrom(70000)
    assert got == sent and source == ("${OUTSIDE.v4}", 82), (size, len(got), source)
many = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(200)]
for n, m in enumerate(many):
    m.settimeout(120)
    m.connect(("${OUTSIDE.v6}", 82))
    m.send(b"%d" % n)
for n, m in enumerate(many):
    assert m.recv(100) == b"%d" % n
s.connect(("${OUTSIDE.v4}", 99))
s.send(b"anybody?")
try:
    s.recv(10)
except OSError as e:
    print(errno.errorcode[e.errno])'`,
      { timeoutMs: 400_000 },
    );
    assertEquals([stdout, stderr], ["ECONNREFUSED\n", ""]);
  });

  await t.step("iperf3 to the outside: a stream each way, and datagrams with their sizes", async () => {
    const server = net.command("outside", ["iperf3", "-s"]).spawn();
    try {
      await until("iperf3", async () => (await net.run("outside", "ss -ltn")).stdout.includes(":5201"));
      for (const mode of ["", "-R"]) {
        const { stdout } = await web.run(`iperf3 -c ${OUTSIDE.v4} -t 2 -J ${mode}`, { check: true });
        assertGreater(JSON.parse(stdout).end.sum_received.bytes, 10_000_000);
      }
      const { stdout } = await web.run(`iperf3 -c ${OUTSIDE.v4} -u -b 5M -l 1400 -t 3 -J`, { check: true });
      const { packets, lost_packets, bytes } = JSON.parse(stdout).end.sum;
      assertEquals(bytes, packets * 1400);
      assertGreater(packets, 500);
      assertLess(lost_packets, packets / 5);
    } finally {
      server.kill("SIGKILL");
      await server.status;
    }
  });

  await t.step("a published datagram port answers the right client", async () => {
    const serving = web.spawn("exec socat -t 120 -T 120 UDP4-RECVFROM:5000,fork EXEC:cat", { stdin: false });
    await until("the port", () => logged(/198\.18\.77\.1:5000 is published: web datagram port 5000/));
    const program = `
      import { createSocket } from "node:dgram";
      const ask = (text) => new Promise((resolve, reject) => {
        const socket = createSocket("udp4");
        setTimeout(() => reject(new Error("no answer")), 120000).unref?.();
        socket.on("message", (got, from) => { console.log(String(got), from.address, from.port); socket.close(); resolve(); });
        socket.send(text, 5000, "${SWITCH.v4}");
      });
      await Promise.all(["one", "two", "three"].map(ask));
      Deno.exit(0);`;
    await Deno.writeTextFile(`${directory}/ask.ts`, program);
    const { stdout, stderr } = await net.run("outside", `${Deno.execPath()} run -A ${directory}/ask.ts`);
    assertEquals(
      stdout.trim().split("\n").toSorted(),
      ["one", "three", "two"].map((w) => `${w} ${SWITCH.v4} 5000`),
      stderr,
    );
    await serving.kill();
  });

  await t.step("published ports: the outside reaches nginx, which sees its address", async () => {
    assertEquals((await net.run("outside", `curl -sS --max-time 60 http://${SWITCH.v4}:8080/`)).code, 7);
    await web.run("cp /tmp/file /var/www/html/file && nginx", { check: true });
    const { stdout: sum } = await web.run("sha256sum </var/www/html/file", { check: true });
    for (const address of [SWITCH.v4, `[${SWITCH.v6}]`]) {
      const { stdout } = await net.run("outside", `curl -sSg --max-time 200 http://${address}:8080/file | sha256sum`);
      assertEquals(stdout, sum);
    }
    const { stdout: access } = await web.run("cat /var/log/nginx/access.log");
    assertStringIncludes(access, OUTSIDE.v4);
    assertStringIncludes(access, OUTSIDE.v6);
    await web.run("nginx -s stop; while pgrep nginx; do sleep 0.1; done");
    assertEquals((await net.run("outside", `curl -sS --max-time 60 http://${SWITCH.v4}:8080/`)).code, 7);
  });

  await t.step("the host's loopback and what is like it is refused, and logged", async () => {
    const server = stack.use(
      start(net, "switch", [
        "eval",
        "Deno.serve({hostname:'127.0.0.1',port:9000},()=>new Response('opened'));" +
        "Deno.serve({hostname:'127.0.0.1',port:9001},()=>new Response('secret'))",
      ], `${directory}/loopback.log`),
    );
    await until(
      "the server",
      async () => (await net.run("switch", "curl -sS --max-time 60 http://127.0.0.1:9001/")).stdout === "secret",
    );
    assertEquals((await curl("http://10.77.0.1:9000/")).stdout, "opened");
    for (const target of ["10.77.0.1:9001", "169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "224.0.0.1"]) {
      const { code, stdout } = await curl(`-g --connect-timeout 10 http://${target}/`);
      assertEquals([target, code, stdout], [target, 7, ""]);
    }
    // Loopback addresses lead to the guest's own stack, whatever the host has there.
    assertEquals((await curl("http://127.0.0.1:9001/")).code, 7);
    // Multicast is refused by the guest itself.
    for (const refused of ["169\\.254\\.169\\.254:80", "\\[fe80::1\\]:80", "\\[fd00:ec2::254\\]:80"]) {
      await until(refused, () => logged(new RegExp(`refused: web .* -> .*${refused}`)));
    }
    await server[Symbol.asyncDispose]();
  });

  await t.step("nothing is left", async () => {
    await web.run("pkill python3; true");
    await until("no circuit", async () => {
      const { circuits, plane } = await status();
      return circuits.open === 0 && plane.hostCircuits === 0 && plane.routes === 0;
    });
    await until("no page", async () => (await status()).arenas.every(({ pages }) => pages <= 1));
    const after = await status();
    assert(
      after.descriptors - before.descriptors < 10,
      `${before.descriptors} descriptors became ${after.descriptors}`,
    );
    assertEquals(after.arenas.map(({ circuits, pages }) => [circuits, pages]), after.arenas.map(() => [0, 1]));
    assert(!(await logged(/a bug of csvn/)));
    assertMatch((await web.run("dmesg | grep -cE 'BUG:|WARNING:|Oops|Call Trace' || true")).stdout, /^0\n$/);
  });
});
