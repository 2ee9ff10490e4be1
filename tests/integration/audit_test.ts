/**
 * The audit log of a real switch with fake guests: a line for each event.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { AuditLog } from "../../src/audit/audit_log.ts";
import type { Attempt, Verdict } from "../../src/circuit/verdict.ts";
import { Errno } from "../../src/errno.ts";
import { parseAddress } from "../../src/net/address.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { HostSocket } from "../support/host_socket.ts";
import { startTestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const HOSTNAME = "127.77.1.4";
const GATEWAY = "10.77.0.1";

Deno.test("every event is a line, of connections between VMs, to the outside and from it", async () => {
  const path = await Deno.makeTempFile({ suffix: ".jsonl" });
  await using host = await HostSocket.bind(HOSTNAME, true);
  let forbidden: (attempt: Attempt) => boolean = ({ destination }) => destination.port === 82;
  const verdict = (attempt: Attempt): Verdict =>
    forbidden(attempt)
      ? { allow: false, reason: "forbidden", revision: "2", details: { rules: ["deny"] } }
      : { allow: true, reason: "allowed", revision: "1", wouldDeny: attempt.destination.port === 81 };
  {
    await using audit = AuditLog.open(path, (vm) => ({ namespace: "default", labels: { name: vm } }));
    await using net = await startTestSwitch({
      recorder: audit,
      verdict,
      limits: { denialBurst: 3, denialsPerSecond: 0.001 },
      allowHost: [{ address: parseAddress(HOSTNAME), port: host.port }],
    });
    await using a = await FakeDriver.boot(net.socket);
    await using b = await FakeDriver.boot(net.socket);
    for (const port of [80, 81, 82]) await b.listen(port);

    const first = await a.mustConnect(b.address, 80); // closed
    const { circuit: firstThere } = await b.accept();
    await first.close();
    await firstThere.close();
    const second = await a.mustConnect(b.address, 81); // would be denied; cut
    const { circuit: secondThere } = await b.accept();
    for (let i = 0; i < 5; i++) assertEquals(await a.connect(b.address, 82), Errno.ECONNREFUSED); // denied
    assertEquals(await a.connect(b.address, 83), Errno.ECONNREFUSED); // failed
    const from = { protocol: 17, port: 5000 };
    const datagrams = a.circuitOf(await a.answer(a.postConnect(GATEWAY, host.port, from)));
    assert(typeof datagrams !== "number");
    datagrams.writeDatagram(GATEWAY, host.port, new Uint8Array(10));
    await datagrams.readDatagram();
    forbidden = () => true;
    assertEquals(net.csvn.revise(), { checked: 2, cut: 2 });
    await second.close();
    await secondThere.close();
    await until("two circuits are over", () => net.csvn.status().circuits.open === 1);
  }
  const records = (await Deno.readTextFile(path)).trimEnd().split("\n").map((line) => JSON.parse(line));
  await Deno.remove(path);
  const short = records.map((r) =>
    [r.event, r.circuit, r.to?.port, r.way, r.revision, r.errno ?? r.why ?? r.suppressed].join(" ").trim()
  );
  const denied = "denied  82 direct 2 ECONNREFUSED";
  assertEquals(short, [
    "opened 1 80 direct 1",
    "closed 1 80 direct 1 closed",
    "would-deny  81 direct 1",
    "opened 2 81 direct 1",
    denied,
    denied,
    "failed  83 direct 1 ECONNREFUSED",
    `opened 3 ${host.port} host 1`,
    `closed 3 ${host.port} host 2 policy`,
    "closed 2 81 direct 2 policy",
    "suppressed     3",
  ]);
  const cut = records.find(({ event, circuit }) => event === "closed" && circuit === 3)!;
  assertEquals([cut.cut, cut.sentBytes, cut.receivedBytes, cut.reason, cut.rules], [true, 10, 10, "forbidden", [
    "deny",
  ]]);
  assertEquals(cut.from.labels, { name: "vm1" });
});
