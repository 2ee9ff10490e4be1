/**
 * Ports that are killed in mid-transfer, again and again: whoever talked with the VM notices a reset of those circuits, and nothing else; whoever did not, nothing. What the
 * switch holds afterwards is what it held before.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Errno } from "../../src/errno.ts";
import { parseAddress } from "../../src/net/address.ts";
import { type FakeCircuit, State } from "../support/fake_circuit.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { serveTcp } from "../support/host_server.ts";
import { Talk } from "../support/talk.ts";
import { startTestSwitch, type TestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const TIMES = 100;
const HOSTNAME = "127.77.1.42";
const GATEWAY = "10.77.0.1";
const limits = { ringBytes: 16 << 10, arenaBytes: 1 << 20, warmMs: 20 };

/** What the switch holds. */
function held({ csvn }: TestSwitch): unknown {
  const { vms, circuits, arenas, ports, plane, descriptors } = csvn.status();
  return {
    vms: vms.map(({ name, circuits, arenas }) => [name, circuits, arenas]),
    open: circuits.open,
    arenas: arenas.map(({ vms, circuits }) => [vms, circuits]),
    ports: ports.map(({ vm, state }) => [vm, state]),
    routes: plane.routes,
    hostCircuits: plane.hostCircuits,
    descriptors,
  };
}

/** What is in a circuit's memory, as its end sees it. */
const isZero = ({ own, peer, tx, rx }: FakeCircuit): boolean =>
  [new Uint8Array(own.buffer), new Uint8Array(peer.buffer), tx, rx].every((part) => part.every((byte) => byte === 0));

Deno.test(`a port that is killed in mid-transfer, ${TIMES} times: a reset of its circuits, no more`, async () => {
  await using server = serveTcp(HOSTNAME, async (connection) => {
    try {
      for (;;) await connection.write(new Uint8Array(65_536).fill(0xaa));
    } catch {
      connection.close(); // Its port was killed.
    }
  });
  await using net = await startTestSwitch({
    limits,
    vms: ["victim", "peer", "other"].map((name) => ({ name, socket: `./${name}.sock` })),
    allowHost: [{ address: parseAddress(HOSTNAME), port: server.port }],
  });
  const path = (name: string): string => `${net.directory}/${name}.sock`;
  await using peer = await FakeDriver.boot(path("peer"));
  await using other = await FakeDriver.boot(path("other"));
  await peer.listen(80);
  const here = await other.mustConnect(peer.address, 80);
  await using talk = new Talk(here, (await peer.accept()).circuit);
  const spare = await other.mustConnect(peer.address, 80);
  const { circuit: spareThere } = await peer.accept();
  for (const end of [spare, spareThere]) await end.close();
  // What is made once, is, when the first victim has come and gone.
  let before: unknown;
  for (let time = 0; time <= TIMES; time++) {
    await using victim = await FakeDriver.boot(path("victim"));
    victim.frontEnd.driverCrashes = true;
    const { pid } = net.csvn.status().ports.find(({ vm }) => vm === "victim")!;
    await victim.listen(81);
    // A stream each way with the peer, both full of bytes; one from the host's stack, which is being pumped.
    const out = await victim.mustConnect(peer.address, 80);
    const lost = [(await peer.accept()).circuit, await peer.mustConnect(victim.address, 81)];
    await victim.accept();
    assert(lost.every((end) => isZero(end)), "another's bytes");
    const download = await victim.mustConnect(GATEWAY, server.port);
    assertEquals(await download.readAll(1).then((bytes) => bytes[0]), 0xaa);
    const bytes = crypto.getRandomValues(new Uint8Array(16 << 10));
    assertEquals(out.write(bytes), bytes.length);
    out.ring();
    Deno.kill(pid!, "SIGKILL");
    await until("the resets", () => lost.every(({ id }) => peer.resets.get(id) === Errno.ECONNRESET));
    assertEquals([...peer.resets.keys()].sort(), lost.map(({ id }) => id).sort());
    // What was sent before is there.
    assertEquals(lost[0]!.read(), bytes);
    peer.resets.clear();
    for (const end of lost) assertEquals(await end.close(), 0);
    await until("the victim's end", () => !net.csvn.status().ports.some(({ vm }) => vm === "victim"));
    await victim.suspend();
    assertEquals([other.resets.size, talk.here.peerState & State.RESET], [0, 0]);
    let after: unknown;
    const settled = JSON.stringify(before);
    await until("all is given back", () => {
      after = held(net);
      return time === 0
        ? net.csvn.status().arenas.length === 1 && net.csvn.status().circuits.open === 1
        : JSON.stringify(after) === settled;
    }, 30_000).catch(() => assertEquals(after, before));
    if (time === 0) {
      // A board that nothing is on stays for a while: none of a port that is gone.
      before = held(net);
    }
  }
  const { turns } = talk;
  await until("more of what the others say", () => talk.turns > turns + 3);
  await talk.stop();
  assertEquals(net.log.filter((line) => /bug of csvn/.test(line)), []);
});
