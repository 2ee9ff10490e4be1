/**
 * Two guests without a NIC, unmodified programs, direct circuits.
 *
 * @module
 */

import { assert, assertEquals, assertGreater, assertMatch, assertStringIncludes } from "@std/assert";
import { bootGuests } from "../support/guests.ts";
import { until } from "../support/until.ts";

const ECHO_SERVER = `
import asyncio
async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(echo, "0.0.0.0", 7000, backlog=256)
    async with server:
        await server.serve_forever()
asyncio.run(main())
`;

const ECHO_CLIENT = `
import asyncio, os, sys
async def one(n):
    reader, writer = await asyncio.open_connection(sys.argv[1], 7000)
    sent = os.urandom(20000) + n.to_bytes(4, "big")
    writer.write(sent)
    await writer.drain()
    writer.write_eof()
    got = await reader.read(-1)
    writer.close()
    return got == sent
async def main():
    print(sum(await asyncio.gather(*(one(n) for n in range(200)))))
asyncio.run(main())
`;

const SEQUENTIAL = `
import socket, sys
for n in range(1000):
    with socket.create_connection((sys.argv[1], 7000)) as s:
        s.sendall(b"x")
        assert s.recv(1) == b"x"
print("done")
`;

const CONCURRENT = `
import asyncio, sys
async def one(gate):
    reader, writer = await asyncio.open_connection(sys.argv[1], 7000)
    gate.add(1)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    await asyncio.sleep(1)
    writer.close()
    await writer.wait_closed()
async def main():
    await asyncio.gather(*(one(set()) for _ in range(256)))
    print("done")
asyncio.run(main())
`;

const SEMANTICS = await Deno.readTextFile(new URL("./programs/semantics.py", import.meta.url));

Deno.test("unmodified programs between two guests without a NIC", async (t) => {
  await using vms = await bootGuests(["web", "client"], { net: { limits: { arenaIdleMs: 500 } } });
  const { net } = vms;
  const web = vms.guests["web"]!;
  const client = vms.guests["client"]!;
  const address = vms.address("web");
  const idle = (): Promise<unknown> =>
    until("nothing left", () => net.csvn.status().circuits.open === 0 && net.csvn.status().arenas.length === 0);

  await t.step("no network device but lo and csvn0", async () => {
    for (const guest of [web, client]) {
      assertEquals((await guest.run("ls /sys/class/net")).stdout.split("\n").filter(Boolean), ["csvn0", "lo"]);
      assertEquals((await guest.run("grep -l ^0x02 /sys/bus/pci/devices/*/class")).stdout, "");
    }
    assertEquals((await web.run("hostname; hostname -I")).stdout.split(/\s+/).slice(0, 2), ["web", address]);
  });

  await t.step("curl and nginx: 64 MiB, equal checksums", async () => {
    await web.run("head -c 64M /dev/urandom >/var/www/html/file && nginx", { check: true });
    const { stdout: sent } = await web.run("sha256sum </var/www/html/file", { check: true });
    const { stdout: got } = await client.run(`curl -sSf http://${address}/file | sha256sum`, { check: true });
    assertEquals(got, sent);
    await until(
      "the circuit in the log",
      () =>
        net.log.some((line) => /closed: client .* -> web .*:80, tcp direct, \d+ bytes there, 67\d{6} back/.test(line)),
    );
    const { stdout: access } = await web.run("cat /var/log/nginx/access.log", { check: true });
    assertStringIncludes(access, vms.address("client"));
  });

  await t.step("a static binary: busybox wget", async () => {
    assertStringIncludes((await client.run("ldd /usr/bin/busybox 2>&1")).stdout, "not a dynamic executable");
    const { stdout } = await client.run(`busybox wget -q -O - http://${address}/file | wc -c`, { check: true });
    assertEquals(stdout, `${64 << 20}\n`);
  });

  await t.step("IPv6: curl and nginx over the VMs' own addresses", async () => {
    const { stdout: own } = await web.run("ip -6 -o addr show dev csvn0 scope global", { check: true });
    const address6 = /inet6 (fd77:[0-9a-f:]+)\//.exec(own)?.[1];
    const { stdout } = await client.run(`curl -sSg -w '%{remote_ip}' -o /dev/null 'http://[${address6}]/'`, {
      check: true,
    });
    assertEquals(stdout, address6);
  });

  await t.step("HTTP/2 by nginx and curl", async () => {
    const conf = "server { listen 8082; http2 on; root /var/www/html; }";
    await web.run("cat >/etc/nginx/conf.d/h2.conf && nginx -s reload", { stdin: conf, check: true });
    await web.run("until ss -ltn | grep -q :8082; do sleep 0.1; done", { check: true });
    const { stdout } = await client.run(
      `curl -sS --http2-prior-knowledge -Z -w '%{http_version} %{size_download}\\n' ` +
        `-o /dev/null -o /dev/null http://${address}:8082/file http://${address}:8082/file`,
      { check: true },
    );
    assertEquals(stdout, `2 ${64 << 20}\n2 ${64 << 20}\n`);
  });

  await t.step("redis", async () => {
    await web.run("redis-server --daemonize yes --protected-mode no --save '' >/dev/null", { check: true });
    await web.run("until redis-cli ping; do sleep 0.1; done", { check: true });
    const { stdout } = await client.run(
      `redis-cli -h ${address} set key "$(head -c 1000 /dev/zero | tr '\\0' x)" && redis-cli -h ${address} strlen key`,
      { check: true },
    );
    assertEquals(stdout, "OK\n1000\n");
    const bench = await client.run(`redis-benchmark -h ${address} -n 2000 -c 20 -q -t set,get`, { check: true });
    assertMatch(bench.stdout, /GET: .* requests per second/);
  });

  await t.step("asyncio echo, 200 connections at once", async () => {
    await web.run("cat >/tmp/echo.py", { stdin: ECHO_SERVER, check: true });
    web.spawn("exec python3 /tmp/echo.py", { stdin: false });
    await client.run("cat >/tmp/client.py", { stdin: ECHO_CLIENT, check: true });
    await web.run("until ss -ltn | grep -q :7000; do sleep 0.1; done", { check: true });
    const { stdout } = await client.run(`python3 /tmp/client.py ${address}`, { check: true });
    assertEquals(stdout, "200\n");
  });

  await t.step("socat half-close: the answer comes after the end of file", async () => {
    web.spawn("exec socat -t 120 TCP-LISTEN:7001,reuseaddr,fork 'SYSTEM:wc -c; echo done'", { stdin: false });
    await web.run("until ss -ltn | grep -q :7001; do sleep 0.1; done", { check: true });
    const { stdout } = await client.run(`echo x | socat -t 30 - TCP:${address}:7001`, { check: true });
    assertEquals(stdout, "2\ndone\n");
  });

  await t.step("iperf3 both ways and at once, without JavaScript", async () => {
    for (const mode of ["", "-R", "--bidir"]) {
      // One server for each: between two tests it closes its listener, and resets who has connected meanwhile.
      await web.run("while pgrep iperf3; do sleep 0.1; done", { check: true });
      web.spawn("exec iperf3 -s -1", { stdin: false });
      await web.run("until ss -ltn | grep -q :5201; do sleep 0.1; done", { check: true });
      const running = client.run(`iperf3 -c ${address} -t 5 -J ${mode}`, { check: true, timeoutMs: 400_000 });
      await new Promise((resolve) => setTimeout(resolve, 2500));
      const before = net.csvn.status().plane;
      await new Promise((resolve) => setTimeout(resolve, 1000));
      const after = net.csvn.status().plane;
      const result = JSON.parse((await running).stdout);
      assertEquals(after.events - before.events, 0, `events during iperf3 ${mode}`);
      assertGreater(result.end.sum_received.bytes, 10_000_000);
      if (mode === "--bidir") assertGreater(result.end.sum_received_bidir_reverse.bytes, 10_000_000);
    }
  });

  await t.step("a port where nobody listens", async () => {
    const { code } = await client.run(`curl -sS --max-time 10 http://${address}:81/`);
    assertEquals(code, 7);
  });

  await t.step("what tcp(7) says", async () => {
    for (const guest of [web, client]) await guest.run("cat >/tmp/semantics.py", { stdin: SEMANTICS, check: true });
    const serving = web.spawn("exec python3 -u /tmp/semantics.py serve", { stdin: false });
    await web.run("until ss -ltn | grep -q :7100; do sleep 0.1; done", { check: true });
    const { stdout } = await client.run(`python3 -u /tmp/semantics.py check ${address} 2>&1`, { timeoutMs: 400_000 });
    assertMatch(stdout, /^all \d+ passed$/m, stdout);
    await serving.kill();
  });

  await t.step("1,000 connections one after another, and 256 at once, leave nothing behind", async () => {
    await client.run("cat >/tmp/one_by_one.py", { stdin: SEQUENTIAL, check: true });
    await client.run("cat >/tmp/at_once.py", { stdin: CONCURRENT, check: true });
    await web.run("pkill iperf3; nginx -s stop; redis-cli shutdown", {});
    await idle();
    const before = net.csvn.status();
    assertEquals(
      (await client.run(`python3 /tmp/one_by_one.py ${address}`, { check: true, timeoutMs: 400_000 })).stdout,
      "done\n",
    );
    assertEquals(
      (await client.run(`python3 /tmp/at_once.py ${address}`, { check: true, timeoutMs: 400_000 })).stdout,
      "done\n",
    );
    await idle();
    const after = net.csvn.status();
    assertEquals(after.circuits.total - before.circuits.total, 1256);
    // The test's own come and go; one left behind by each of 1,256 connections would show.
    const more = after.descriptors - before.descriptors;
    assert(more < 10, `${before.descriptors} descriptors became ${after.descriptors}`);
    assertEquals(after.plane.routes, 0);
    for (const guest of [web, client]) {
      assertEquals((await guest.run("cat /sys/class/net/csvn0/csvn/circuits")).stdout, "0\n");
    }
    assert(after.vms.every((vm) => vm.circuits === 0 && vm.attempts === 0 && vm.arenas === 0));
  });
});
