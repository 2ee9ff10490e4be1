/**
 * How circuits to the host's stack and from published ports end, while rings are full: what came before the end is read, then the end.
 * lib/test/host_stream_test.c compares any order of ends with plain sockets; this is the whole switch.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { parseAddress } from "../../src/net/address.ts";
import { type FakeCircuit, State } from "../support/fake_circuit.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { serveTcp } from "../support/host_server.ts";
import { startTestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const HOSTNAME = "127.77.1.9";
const GATEWAY = "10.77.0.1";
const limits = { ringBytes: 16 << 10 };

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** Read as a slow reader does, until a state bit is set and nothing is left. */
async function readToEnd(circuit: FakeCircuit, state: number): Promise<number> {
  let got = 0;
  await until("the end", () => {
    const over = (circuit.peerState & state) !== 0;
    const n = circuit.read().length;
    got += n;
    if (n > 0) circuit.ring();
    return over && n === 0;
  }, 20_000);
  return got;
}

Deno.test("end of file comes after an answer that is larger than the ring, whoever has closed first", async (t) => {
  for (const halfClosed of [false, true]) {
    await t.step(halfClosed ? "the guest has half-closed" : "the guest has not", async () => {
      const { promise: closed, resolve } = Promise.withResolvers<void>();
      await using server = serveTcp(HOSTNAME, async (connection) => {
        const buffer = new Uint8Array(10);
        await connection.read(buffer);
        if (halfClosed) await connection.read(buffer);
        await writeAll(connection, new Uint8Array(40_000));
        connection.close();
        resolve();
      });
      await using net = await startTestSwitch({
        allowHost: [{ address: parseAddress(HOSTNAME), port: server.port }],
        limits,
      });
      await using vm = await FakeDriver.boot(net.socket);
      const circuit = await vm.mustConnect(GATEWAY, server.port);
      circuit.write(Uint8Array.of(1));
      if (halfClosed) circuit.setState(State.FIN);
      circuit.ring();
      await closed;
      await until("a full ring", () => circuit.peer.getBigUint64(0, true) === BigInt(limits.ringBytes));
      // The hang-up is there, and nothing can be done about it: the data plane must not be busy with it.
      const { plane: before } = net.csvn.status();
      await new Promise((resolve) => setTimeout(resolve, 100));
      assertEquals(net.csvn.status().plane.hostTurns - before.hostTurns < 20, true);
      assertEquals(await readToEnd(circuit, State.FIN), 40_000);
      assertEquals(circuit.peerState & State.RESET, 0);
      await circuit.close();
      await until("nothing left", () => net.csvn.status().circuits.open === 0);
    });
  }
});

Deno.test("an early answer to a guest that goes on sending is read, then the reset", async (t) => {
  for (const size of [1000, 60_000, 100_000]) {
    await t.step(`${size} bytes`, async () => {
      const { promise: answered, resolve } = Promise.withResolvers<void>();
      await using server = serveTcp(HOSTNAME, async (connection) => {
        await connection.read(new Uint8Array(1000));
        await writeAll(connection, new Uint8Array(size));
        resolve();
        connection.close();
      });
      await using net = await startTestSwitch({
        allowHost: [{ address: parseAddress(HOSTNAME), port: server.port }],
        limits,
      });
      await using vm = await FakeDriver.boot(net.socket);
      const circuit = await vm.mustConnect(GATEWAY, server.port);
      let written = 0;
      let got = 0;
      await until("3 MB sent, or the reset", () => {
        const n = circuit.write(new Uint8Array(Math.min(3_000_000 - written, 65_536)));
        written += n;
        if (n > 0) circuit.ring();
        return written === 3_000_000 || circuit.peerState & State.RESET;
      }, 20_000);
      // Until it has answered, the server waits for us too, where the answer is more than sockets hold.
      got += circuit.read().length;
      circuit.ring();
      await answered;
      got += await readToEnd(circuit, State.RESET);
      assertEquals(got, size);
      await circuit.close();
    });
  }
});

Deno.test("a published port's client reads what the guest sent before its reset", async () => {
  const probe = Deno.listen({ hostname: HOSTNAME, port: 0 });
  const { port } = probe.addr;
  probe.close();
  await using net = await startTestSwitch({
    publish: [{ protocol: "tcp", host: { address: parseAddress(HOSTNAME), port }, vm: "vm1", port: 80 }],
    limits,
  });
  await using vm = await FakeDriver.boot(net.socket);
  await vm.listen(80);
  for (let i = 0; i < 20; i++) {
    const client = await Deno.connect({ hostname: HOSTNAME, port });
    await client.write(new Uint8Array(5000));
    const { circuit } = await vm.accept();
    await until("the request", () => circuit.peer.getBigUint64(0, true) === 5000n);
    // An answer, and a close with the request unread: all before anybody has looked.
    circuit.write(new Uint8Array(16_000).fill(7));
    circuit.setState(State.RESET | State.CLOSED);
    circuit.ring();
    let got = 0;
    let end = "end of file";
    try {
      const buffer = new Uint8Array(65_536);
      for (let n; (n = await client.read(buffer)) !== null;) got += n;
    } catch (error) {
      end = (error as Error).name;
    }
    client.close();
    assertEquals([got, end], [16_000, "ConnectionReset"]);
    await circuit.close();
  }
});
