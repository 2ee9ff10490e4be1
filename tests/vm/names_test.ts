/**
 * Names in guests: VMs, services, forwarded ones, by the C library's resolver and by a static binary's own.
 *
 * @module
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parseAddress } from "../../src/net/address.ts";
import { answerTo, FakeUpstream, record, UPSTREAMS } from "../support/dns.ts";
import { bootGuests } from "../support/guests.ts";
import { until } from "../support/until.ts";

const NXDOMAIN = 3;
const TRUNCATED = 0x200;

Deno.test("names in guests", async (t) => {
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], (query, tcp) => {
    const [question] = query.questions;
    const name = question?.name ?? "";
    if (name === "outside.example") {
      return [answerTo(query, question?.type === "A" ? [record(name, "A", "192.0.2.7")] : [])];
    }
    if (name === "rebinding.example") {
      return [answerTo(query, question?.type === "A" ? [record(name, "A", "169.254.169.254")] : [])];
    }
    if (name !== "big.example") return [answerTo(query, [], NXDOMAIN)];
    if (!tcp) return [answerTo(query, [], TRUNCATED)];
    return [answerTo(query, Array.from({ length: 16 }, (_, i) => record(name, "TXT", `${i}`.padEnd(250, "x"))))];
  });
  await using vms = await bootGuests(["web", "client"], {
    guest: { packages: ["bind9-dnsutils"] }, // dig
    net: {
      resolvers: [upstream.endpoint],
      services: new Map([["db.internal", ["web"]], ["printer.internal", [parseAddress("10.77.0.99")]]]),
    },
  });
  const { net } = vms;
  const client = vms.guests["client"]!;
  await vms.guests["web"]!.run("nginx", { check: true });
  const get = async (command: string): Promise<string> => (await client.run(command)).stdout.trim();

  await t.step("VMs and services, by getent", async () => {
    assertEquals(await get("cat /etc/resolv.conf"), "nameserver 10.77.0.1");
    for (const name of ["web", "web.csvn", "WEB.csvn", "db.internal"]) {
      assertMatch(await get(`getent ahostsv4 ${name} | head -1`), /^10\.77\.0\.10 /);
      assertMatch(await get(`getent ahostsv6 ${name} | head -1`), /^fd77:6373:766e::a /);
    }
    assertMatch(await get("getent ahostsv4 printer.internal | head -1"), /^10\.77\.0\.99 /);
    assertMatch(await get("getent ahostsv4 host.csvn | head -1"), /^10\.77\.0\.1 /);
    assertMatch(await get("getent hosts 10.77.0.10"), /web\.csvn$/);
    assertEquals((await client.run("getent hosts nobody.csvn")).code, 2);
  });

  await t.step("the same by dig, over UDP and TCP", async () => {
    for (const how of ["", "+tcp"]) {
      assertEquals(await get(`dig +short ${how} web.csvn A`), "10.77.0.10");
      assertEquals(await get(`dig +short ${how} db.internal AAAA`), "fd77:6373:766e::a");
      assertEquals(await get(`dig +short ${how} -x 10.77.0.10`), "web.csvn.");
      assertEquals(await get(`dig +short ${how} outside.example A`), "192.0.2.7");
      assertStringIncludes(await get(`dig ${how} nobody.csvn A`), "status: NXDOMAIN");
      assertStringIncludes(await get(`dig ${how} unknown.example A`), "status: NXDOMAIN");
    }
    assertEquals((await get("dig +short big.example TXT")).split("\n").length, 16);
  });

  await t.step("curl by name", async () => {
    assertStringIncludes(await get("curl -sSI --max-time 200 http://web/"), "200 OK");
    assertStringIncludes(await get("curl -sSI --max-time 200 http://db.internal/"), "200 OK");
  });

  await t.step("forwarded names, and what nobody knows", async () => {
    assertMatch(await get("getent ahostsv4 outside.example | head -1"), /^192\.0\.2\.7 /);
    assertEquals((await client.run("getent hosts unknown.example")).code, 2);
  });

  await t.step("a name does not open what its address closes", async () => {
    for (const target of ["rebinding.example", "169.254.169.254", "[::ffff:169.254.169.254]"]) {
      net.log.length = 0;
      assertEquals([target, (await client.run(`curl -gsS --max-time 200 http://${target}/`)).code], [target, 7]);
      const line = net.log.find((text) => text.startsWith("refused: client"));
      assertStringIncludes(line ?? "", "guests must not reach 169.254.169.254:80: link-local", target);
    }
  });

  await t.step("a static binary that reads resolv.conf itself", async () => {
    assertStringIncludes(await get("busybox nslookup web.csvn 2>&1"), "10.77.0.10");
    assertStringIncludes(await get("busybox nslookup -type=a outside.example 2>&1"), "192.0.2.7");
  });

  await t.step("an answer of 4 KiB, over TCP after a truncated one", async () => {
    const script = `
import socket, struct
query = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"\\\\x03big\\\\x07example\\\\x00" + struct.pack(">2H", 16, 1)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(120)
u.sendto(query, ("10.77.0.1", 53))
answer = u.recv(65535)
print("truncated", bool(answer[2] & 2), len(answer) <= 512)
t = socket.create_connection(("10.77.0.1", 53), 120)
t.sendall(struct.pack(">H", len(query)) + query)
length = struct.unpack(">H", t.recv(2, socket.MSG_WAITALL))[0]
whole = b""
while len(whole) < length: whole += t.recv(length - len(whole))
print("whole", len(whole) > 4000, struct.unpack(">H", whole[6:8])[0])
`;
    await client.run("cat >/tmp/big.py", { stdin: script.replaceAll("\\\\", "\\"), check: true });
    assertEquals(await get("python3 /tmp/big.py 2>&1"), "truncated True True\nwhole True 16");
  });

  await t.step("nothing is left", async () => {
    await until("no circuit to the host's stack", () => net.csvn.status().plane.hostCircuits === 0);
  });
});
