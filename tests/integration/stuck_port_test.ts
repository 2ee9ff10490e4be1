/**
 * Ports that are stuck: stopped, or frozen so that not even SIGKILL ends them. Each is one VM's loss: it is noticed without anybody wanting anything of it, named, killed,
 * and its circuits are reset at the peers at once. What it may still touch is given back when it has ended, and not before.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { formatStatus } from "../../src/cli/api.ts";
import { Errno } from "../../src/errno.ts";
import type { PortStatus } from "../../src/host/switch.ts";
import { parseAddress } from "../../src/net/address.ts";
import { FakeDriver, type Incoming } from "../support/fake_driver.ts";
import { Frozen, noFreezer } from "../support/freezer.ts";
import { serveTcp } from "../support/host_server.ts";
import { Talk } from "../support/talk.ts";
import { startTestSwitch, type TestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const HOSTNAME = "127.77.1.41";
const GATEWAY = "10.77.0.1";

/** A switch, and a server of the host that sends without end. */
async function begin(vms: readonly string[]): Promise<AsyncDisposable & { net: TestSwitch; port: number }> {
  const stack = new AsyncDisposableStack();
  const connections = new Set<Deno.Conn>();
  const server = stack.use(serveTcp(HOSTNAME, async (connection) => {
    connections.add(connection);
    // Until the port, or the test, has closed it.
    for (let open = true; open;) open = await connection.write(new Uint8Array(65_536)).then(() => true, () => false);
  }));
  // A port that is stuck does not read, and does not hang up.
  stack.defer(() => {
    for (const connection of connections) connection.close();
  });
  const net = stack.use(
    await startTestSwitch({
      vms: vms.map((name) => ({ name, socket: `./${name}.sock` })),
      allowHost: [{ address: parseAddress(HOSTNAME), port: server.port }],
    }),
  );
  return { net, port: server.port, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const portOf = (net: TestSwitch, vm: string): PortStatus | undefined =>
  net.csvn.status().ports.find((port) => port.vm === vm);

Deno.test("stopped ports, idle and in mid-transfer, are noticed and killed: their peers hear of it, and nobody else", async () => {
  await using begun = await begin(["idle", "busy", "peer", "other"]);
  const { net, port } = begun;
  const boot = (name: string): Promise<FakeDriver> => FakeDriver.boot(`${net.directory}/${name}.sock`);
  const [idle, busy, peer, other] = await Promise.all(["idle", "busy", "peer", "other"].map(boot)) as [
    FakeDriver,
    FakeDriver,
    FakeDriver,
    FakeDriver,
  ];
  await using stack = new AsyncDisposableStack();
  for (const driver of [idle, busy, peer, other]) stack.use(driver);
  await peer.listen(80);
  const lost: number[] = [];
  for (const vm of [idle, busy]) {
    await vm.mustConnect(peer.address, 80);
    lost.push((await peer.accept()).circuit.id);
  }
  const here = await other.mustConnect(peer.address, 80);
  const { circuit: there } = await peer.accept();
  const talk = stack.use(new Talk(here, there));
  const download = await busy.mustConnect(GATEWAY, port);
  await download.readAll(65_536);
  const pids = ["idle", "busy"].map((name) => portOf(net, name)!.pid!);
  assertEquals(portOf(net, "idle"), { vm: "idle", pid: pids[0]!, state: "running", reason: undefined });
  for (const pid of pids) Deno.kill(pid, "SIGSTOP");
  // Whose driver asks for nothing.
  await Promise.all([idle, busy].map((driver) => driver.suspend()));
  await until("resets at the peer", () => lost.every((id) => peer.resets.get(id) === Errno.ECONNRESET));
  assertEquals([...peer.resets.keys()].sort(), lost.sort());
  assertEquals(other.resets.size, 0);
  assertEquals(net.csvn.status().vms.map(({ name }) => name).sort(), ["other", "peer"]);
  for (const [i, name] of ["idle", "busy"].entries()) {
    const line = `the port of ${name} (process ${pids[i]}): it has done nothing for 10 s: killed`;
    assert(net.log.includes(line), net.log.join("\n"));
  }
  await until("their ports' ends", () => net.csvn.status().ports.length === 2);
  for (const id of lost) await peer.request(8, [[16, new Uint8Array(Uint32Array.of(id, 0).buffer)]], 40);
  await until("nothing left of them", () => {
    const { arenas, circuits, plane } = net.csvn.status();
    return arenas.length === 1 && circuits.open === 1 && plane.routes === 2 && plane.hostCircuits === 0;
  });
  const { turns } = talk;
  await until("more of what others say", () => talk.turns > turns);
  await talk.stop();
  // They come again.
  for (const name of ["idle", "busy"]) {
    await using again = await boot(name);
    const circuit = await again.mustConnect(peer.address, 80);
    circuit.write(Uint8Array.of(42));
    assertEquals(await (await peer.accept()).circuit.readAll(1), Uint8Array.of(42));
  }
});

/** Shown with the tests that are left out. */
const why = noFreezer();
const suffix = why === undefined ? "" : ` (left out: ${why})`;
const ignore = why !== undefined;

Deno.test({
  name: `a port that cannot be killed is written off: what it may touch stays its own until it has ended${suffix}`,
  ignore,
  fn: async () => {
    await using begun = await begin(["frozen", "peer"]);
    const { net, port } = begun;
    await using frozen = await FakeDriver.boot(`${net.directory}/frozen.sock`);
    await using peer = await FakeDriver.boot(`${net.directory}/peer.sock`);
    await peer.listen(80);
    await frozen.mustConnect(peer.address, 80);
    const { circuit: lost } = await peer.accept();
    const download = await frozen.mustConnect(GATEWAY, port);
    await download.readAll(65_536);
    const { pid } = portOf(net, "frozen")!;
    await using ice = await Frozen.freeze(pid!);
    await frozen.suspend();
    await until("the reset at the peer", () => peer.resets.get(lost.id) === Errno.ECONNRESET);
    await until("the log's line", () => portOf(net, "frozen")?.state === "written off");
    assert(
      net.log.includes(
        `the port of frozen (process ${pid}) cannot be killed: what it holds is written off until it ends`,
      ),
    );
    const text = formatStatus(net.csvn.status());
    assert(text.includes(`  frozen written off, process ${pid}: its port was killed: it has done nothing for 10 s\n`));
    await lost.close();
    // The arena between the two is nobody's but their guests'; the one that the port has mapped is not given back.
    await until("the pair's arena", () => net.csvn.status().arenas.length === 1);
    const [arena] = net.csvn.status().arenas;
    assertEquals([arena!.vms, arena!.circuits], [["frozen"], 1]);
    assertEquals(net.csvn.status().circuits.open, 0);
    // The VM comes again beside it.
    let incoming: Incoming;
    {
      await using again = await FakeDriver.boot(`${net.directory}/frozen.sock`);
      await again.mustConnect(peer.address, 80);
      incoming = await peer.accept();
      await (await again.mustConnect(GATEWAY, port)).readAll(65_536);
      assertEquals(net.csvn.status().ports.map(({ vm, state }) => `${vm} ${state}`).sort(), [
        "frozen running",
        "frozen written off",
        "peer running",
      ]);
    }
    await incoming.circuit.close();
    await ice.thaw();
    await until("its end", () => portOf(net, "frozen") === undefined);
    await until("all given back", () => net.csvn.status().arenas.length === 0);
  },
});

Deno.test({
  name: `a switch with a port that cannot be killed stops as any other, before it is noticed and after${suffix}`,
  ignore,
  fn: async () => {
    for (const noticed of [false, true]) {
      await using ice = new AsyncDisposableStack();
      await using begun = await begin(["frozen", "peer"]);
      const { net, port } = begun;
      await using frozen = await FakeDriver.boot(`${net.directory}/frozen.sock`);
      await (await frozen.mustConnect(GATEWAY, port)).readAll(65_536);
      ice.use(await Frozen.freeze(portOf(net, "frozen")!.pid!));
      await frozen.suspend();
      if (noticed) await until("it is killed", () => portOf(net, "frozen")?.state === "killed");
    }
  },
});
