/**
 * Datagrams between a fake guest and the host's stack, on loopback addresses of the tests' own.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Errno } from "../../src/errno.ts";
import { parseAddress } from "../../src/net/address.ts";
import type { FakeCircuit } from "../support/fake_circuit.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { HostSocket } from "../support/host_socket.ts";
import { startTestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const HOSTNAME = "127.77.1.2";
const GATEWAY = "10.77.0.1";
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);

async function connect(vm: FakeDriver, address: string, port: number, from = 5000): Promise<FakeCircuit | number> {
  return vm.circuitOf(await vm.answer(vm.postConnect(address, port, { protocol: 17, port: from })));
}

Deno.test("datagrams go out and answers come back, with boundaries and addresses", async () => {
  await using echo = await HostSocket.bind(HOSTNAME, true);
  await using other = await HostSocket.bind(HOSTNAME);
  const allowHost = [echo, other].map(({ port }) => ({ address: parseAddress(HOSTNAME), port }));
  await using net = await startTestSwitch({ allowHost });
  await using vm = await FakeDriver.boot(net.socket);
  const circuit = await connect(vm, GATEWAY, echo.port);
  assert(typeof circuit !== "number");
  for (const size of [0, 1, 7, 8, 1400, 65507]) {
    const payload = crypto.getRandomValues(new Uint8Array(size));
    assert(circuit.writeDatagram(GATEWAY, echo.port, payload));
    const answer = await circuit.readDatagram();
    assertEquals([answer.address, answer.port, answer.error], [GATEWAY, echo.port, 0]);
    assertEquals(answer.payload, payload);
  }
  const source = echo.got[0]!.from.port;

  // Another destination from the same socket: the same circuit, the same source.
  assertEquals(circuit.writeDatagram(HOSTNAME, other.port, bytes("too early")), true);
  await until("it is dropped", () => net.csvn.status().plane.hostDropped === 1);
  const same = await connect(vm, HOSTNAME, other.port);
  assert(typeof same !== "number");
  assertEquals(same.id, circuit.id);
  circuit.writeDatagram(HOSTNAME, other.port, bytes("now"));
  await until("it", () => other.got.length === 1);
  assertEquals([text(other.got[0]!.payload), other.got[0]!.from.port], ["now", source]);

  // Nobody else gets in.
  await using stranger = await HostSocket.bind(HOSTNAME);
  stranger.send(bytes("psst"), source);
  other.send(bytes("answer"), source);
  const answer = await circuit.readDatagram();
  assertEquals([answer.address, answer.port, text(answer.payload)], [HOSTNAME, other.port, "answer"]);
  assertEquals(net.csvn.status().plane.hostDropped, 2);

  assertEquals(await circuit.close(), 0);
  await until("nothing left", () => net.csvn.status().circuits.open === 0);
  assertEquals([net.csvn.status().plane.hostCircuits, net.csvn.status().plane.routes], [0, 0]);
});

Deno.test("what was sent right before the close goes out", async () => {
  await using other = await HostSocket.bind(HOSTNAME);
  await using net = await startTestSwitch({ allowHost: [{ address: parseAddress(HOSTNAME), port: other.port }] });
  await using vm = await FakeDriver.boot(net.socket);
  for (let i = 0; i < 20; i++) {
    const circuit = await connect(vm, GATEWAY, other.port, 6000 + i);
    assert(typeof circuit !== "number");
    circuit.writeDatagram(GATEWAY, other.port, bytes(`last words ${i}`));
    await circuit.close();
    await until("it", () => other.got.length === i + 1);
  }
});

Deno.test("a port where nobody is comes back as an error of that address", async () => {
  const gone = await HostSocket.bind(HOSTNAME);
  await gone[Symbol.asyncDispose]();
  await using net = await startTestSwitch({ allowHost: [{ address: parseAddress(HOSTNAME), port: gone.port }] });
  await using vm = await FakeDriver.boot(net.socket);
  const circuit = await connect(vm, GATEWAY, gone.port);
  assert(typeof circuit !== "number");
  circuit.writeDatagram(GATEWAY, gone.port, bytes("hello?"));
  const answer = await circuit.readDatagram();
  assertEquals([answer.address, answer.port, answer.error], [GATEWAY, gone.port, Errno.ECONNREFUSED]);
  assertEquals(answer.payload.length, 0);
});

Deno.test("frames that break the rules end their circuit alone", async () => {
  await using echo = await HostSocket.bind(HOSTNAME, true);
  await using net = await startTestSwitch({ allowHost: [{ address: parseAddress(HOSTNAME), port: echo.port }] });
  await using vm = await FakeDriver.boot(net.socket);
  const honest = await connect(vm, GATEWAY, echo.port, 7000);
  assert(typeof honest !== "number");
  const lies: ((header: DataView) => void)[] = [
    (header) => header.setUint32(0, 65508, true),
    (header) => header.setUint32(0, 0xffffffff, true),
    (header) => header.setUint32(0, 5000, true),
    (header) => header.setUint16(4, 5, true),
  ];
  for (const [i, lie] of lies.entries()) {
    const liar = await connect(vm, GATEWAY, echo.port, 7001 + i);
    assert(typeof liar !== "number");
    liar.writeDatagram(GATEWAY, echo.port, bytes("x"), lie);
    await until("the reset", () => liar.peerState & 4);
    await liar.close();
  }
  honest.writeDatagram(GATEWAY, echo.port, bytes("still"));
  assertEquals(text((await honest.readDatagram()).payload), "still");
});

Deno.test("a published datagram port answers each client, and policy sees every source", async () => {
  const probe = await HostSocket.bind(HOSTNAME);
  await probe[Symbol.asyncDispose]();
  const denied = await HostSocket.bind(HOSTNAME);
  await using _denied = denied;
  await using net = await startTestSwitch({
    publish: [{ protocol: "udp", host: { address: parseAddress(HOSTNAME), port: probe.port }, vm: "vm1", port: 53 }],
    verdict: ({ source }) => ({ allow: source.port !== denied.port, reason: "because of the test" }),
  });
  await using vm = await FakeDriver.boot(net.socket);
  await vm.listen(53, 1, 10, "0.0.0.0", 0, 17);
  const { circuit, remote } = await until("the port's circuit", () => vm.incoming.shift());
  assertEquals([remote.address.text, remote.port], ["0.0.0.0", 0]);
  await using a = await HostSocket.bind(HOSTNAME);
  await using b = await HostSocket.bind(HOSTNAME);
  denied.send(bytes("denied"), probe.port);
  for (const client of [a, b, a]) {
    client.send(bytes(`question of ${client.port}`), probe.port);
    const question = await circuit.readDatagram();
    assertEquals([question.address, question.port], [HOSTNAME, client.port]);
    assertEquals(text(question.payload), `question of ${client.port}`);
    const before = client.got.length;
    circuit.writeDatagram(question.address, question.port, bytes(`answer for ${client.port}`));
    await until("the answer", () => client.got.length > before);
    assertEquals(text(client.got.at(-1)!.payload), `answer for ${client.port}`);
    assertEquals(client.got.at(-1)!.from.port, probe.port);
  }
  assert(net.log.some((line) => line.startsWith(`denied: host ${HOSTNAME}:${denied.port} -> vm1`)));
  await vm.unlisten(1);
  await until("the circuit's end", () => vm.resets.has(circuit.id));
  await circuit.close();
  await until("nothing left", () => net.csvn.status().circuits.open === 0);
});
