/**
 * What policy does to live connections: the real switch, fake guests, real sockets on loopback addresses of the tests' own.
 *
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Attempt, OnDeny, Verdict } from "../../src/circuit/verdict.ts";
import { Errno } from "../../src/errno.ts";
import { parseAddress } from "../../src/net/address.ts";
import { State } from "../support/fake_circuit.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { FakeRecorder } from "../support/fake_recorder.ts";
import { HostSocket } from "../support/host_socket.ts";
import { startTestSwitch, type TestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const HOSTNAME = "127.77.1.3";
const GATEWAY = "10.77.0.1";
const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** A policy that can change, and what was told of it. */
class Policy {
  readonly recorder = new FakeRecorder();
  denied: (attempt: Attempt) => boolean = () => false;
  onDeny: OnDeny = "refuse";
  readonly options = {
    recorder: this.recorder,
    verdict: (attempt: Attempt): Verdict => ({
      allow: !this.denied(attempt),
      reason: "test",
      onDeny: this.onDeny,
    }),
  };
}

const outcomes: [OnDeny, number][] = [
  ["refuse", Errno.ECONNREFUSED],
  ["unreachable", Errno.EHOSTUNREACH],
  ["prohibit", Errno.EACCES],
  ["drop", Errno.ETIMEDOUT],
];

async function nothingLeft(net: TestSwitch): Promise<void> {
  await until("nothing left", () => net.csvn.status().circuits.open === 0);
  const { plane } = net.csvn.status();
  assertEquals([plane.hostCircuits, plane.routes], [0, 0]);
}

Deno.test("a denial ends in the guest as policy wishes: TCP and UDP, to a VM and to the outside", async () => {
  const policy = new Policy();
  await using net = await startTestSwitch({
    ...policy.options,
    allowHost: [{ address: parseAddress(HOSTNAME), port: 9 }],
    limits: { connectMs: 100 },
  });
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  policy.denied = () => true;
  for (const [onDeny, errno] of outcomes) {
    policy.onDeny = onDeny;
    for (const protocol of [6, 17]) {
      for (const [address, port] of [[b.address, 80], [GATEWAY, 9]] as const) {
        const began = performance.now();
        const { error } = await a.answer(a.postConnect(address, port, { protocol, port: 5000 }));
        assertEquals([onDeny, protocol, address, error], [onDeny, protocol, address, errno]);
        // The others are answered when it is their turn.
        if (onDeny === "drop") assert(performance.now() - began >= 95);
      }
    }
  }
  const token = a.postConnect(b.address, 80, { protocol: 17, port: 5000 });
  assertEquals([(await a.cancel(token)).error, (await a.answer(token)).error], [0, Errno.ECANCELED]);
  assertEquals(policy.recorder.lines.filter((line) => line.startsWith("denied")).length, 17);
  assertEquals(net.csvn.status().vms.map(({ attempts }) => attempts), [0, 0]);
});

Deno.test("a direct circuit is cut at both ends; its neighbour goes on; a new one is refused", async () => {
  const policy = new Policy();
  await using net = await startTestSwitch(policy.options);
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  await b.listen(81);
  const cut = await a.mustConnect(b.address, 80);
  const { circuit: cutThere } = await b.accept();
  const kept = await a.mustConnect(b.address, 81);
  const { circuit: keptThere } = await b.accept();
  policy.denied = ({ destination }) => destination.port === 80;
  assertEquals(net.csvn.revise(), { checked: 2, cut: 1 });
  await until("both resets", () => a.resets.has(cut.id) && b.resets.has(cutThere.id));
  assertEquals([[...a.resets], [...b.resets]], [[[cut.id, Errno.ECONNRESET]], [[cutThere.id, Errno.ECONNRESET]]]);
  b.wakes.length = 0;
  keptThere.arm();
  kept.write(bytes("still here"));
  cut.ring();
  kept.ring();
  assertEquals(text(await keptThere.readAll(10)), "still here");
  await until("the wake", () => b.wakes.includes(keptThere.id));
  assert(!b.wakes.includes(cutThere.id), "no doorbell passes a circuit that was cut");
  assertEquals(await a.connect(b.address, 80), Errno.ECONNREFUSED);
  for (const circuit of [cut, cutThere, kept, keptThere]) assertEquals(await circuit.close(), 0);
  await nothingLeft(net);
  assert(net.log.some((line) => line.startsWith("circuit 1 cut: vm1 ") && line.endsWith("tcp: test")));
});

Deno.test("datagrams between VMs: the circuit is cut, and a new one is to be had when policy allows it again", async () => {
  for (const [onDeny, errno] of [["prohibit", Errno.EACCES], ["drop", 0]] as const) {
    const policy = new Policy();
    await using net = await startTestSwitch(policy.options);
    await using a = await FakeDriver.boot(net.socket);
    await using b = await FakeDriver.boot(net.socket);
    await b.listen(53, 1, 10, "0.0.0.0", 0, 17);
    const from = { protocol: 17, port: 5000 };
    const here = a.circuitOf(await a.answer(a.postConnect(b.address, 53, from)));
    assert(typeof here !== "number");
    const { circuit: there } = await until("it", () => b.incoming.shift());
    policy.denied = () => true;
    policy.onDeny = onDeny;
    assertEquals(net.csvn.revise(), { checked: 1, cut: 1 });
    await until("both resets", () => a.resets.has(here.id) && b.resets.has(there.id));
    assertEquals([a.resets.get(here.id), b.resets.get(there.id)], [errno, errno]);
    await here.close();
    await there.close();
    policy.denied = () => false;
    assert(typeof a.circuitOf(await a.answer(a.postConnect(b.address, 53, from))) !== "number");
  }
});

Deno.test("connections to the outside and from it are cut at once, at both ends", async () => {
  const policy = new Policy();
  const listener = Deno.listen({ hostname: HOSTNAME, port: 0 });
  using _listener = listener;
  const probe = Deno.listen({ hostname: HOSTNAME, port: 0 });
  const published = probe.addr.port;
  probe.close();
  await using net = await startTestSwitch({
    ...policy.options,
    allowHost: [{ address: parseAddress(HOSTNAME), port: listener.addr.port }],
    publish: [{ protocol: "tcp", host: { address: parseAddress(HOSTNAME), port: published }, vm: "vm1", port: 80 }],
  });
  await using vm = await FakeDriver.boot(net.socket);
  await vm.listen(80);
  const out = await vm.mustConnect(GATEWAY, listener.addr.port);
  using server = await listener.accept();
  using client = await Deno.connect({ hostname: HOSTNAME, port: published });
  const { circuit: inbound } = await vm.accept();
  policy.denied = () => true;
  assertEquals(net.csvn.revise(), { checked: 2, cut: 2 });
  await until("both resets", () => vm.resets.size === 2);
  for (const connection of [server, client]) {
    await assertRejects(() => connection.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
  }
  for (const circuit of [out, inbound]) assertEquals(await circuit.close(), 0);
  await nothingLeft(net);
  assertEquals(policy.recorder.lines.filter((line) => line.endsWith("policy")).length, 2);

  // Whatever policy wishes it to look like: the host's stack has accepted it.
  for (const [onDeny] of outcomes) {
    policy.onDeny = onDeny;
    await assertRejects(async () => {
      using connection = await Deno.connect({ hostname: HOSTNAME, port: published });
      await connection.read(new Uint8Array(1));
    }, Deno.errors.ConnectionReset);
  }
  assertEquals(vm.incoming, []);
});

Deno.test("a connection that the host's stack is still making is given up", async () => {
  const policy = new Policy();
  // A listener whose backlog is full: more connections have no answer.
  const full = await fullListener();
  await using _full = full;
  await using net = await startTestSwitch({
    ...policy.options,
    allowHost: [{ address: parseAddress(HOSTNAME), port: full.port }],
  });
  await using vm = await FakeDriver.boot(net.socket);
  const token = vm.postConnect(GATEWAY, full.port);
  await until("it connects", () => net.csvn.status().plane.hostCircuits === 1);
  policy.denied = () => true;
  policy.onDeny = "unreachable";
  assertEquals(net.csvn.revise(), { checked: 1, cut: 1 });
  assertEquals((await vm.answer(token)).error, Errno.EHOSTUNREACH);
  await nothingLeft(net);
  assertEquals(policy.recorder.lines, [`denied vm1 -> host:${full.port} ${Errno.EHOSTUNREACH}`]);
});

Deno.test("one machine by two addresses, one of which is forbidden: the other goes on, in both directions", async () => {
  const policy = new Policy();
  await using host = await HostSocket.bind(HOSTNAME, true);
  await using net = await startTestSwitch({
    ...policy.options,
    allowHost: [{ address: parseAddress(HOSTNAME), port: host.port }],
  });
  await using vm = await FakeDriver.boot(net.socket);
  for (const [forbidden, kept] of [[GATEWAY, HOSTNAME], [HOSTNAME, GATEWAY]] as const) {
    policy.denied = () => false;
    net.csvn.revise();
    const circuits = [];
    for (const address of [GATEWAY, HOSTNAME]) {
      const answer = await vm.answer(vm.postConnect(address, host.port, { protocol: 17, port: 5000 }));
      circuits.push(vm.circuitOf(answer));
    }
    const [circuit] = circuits;
    assert(typeof circuit !== "number" && circuit);
    policy.denied = ({ destination }) => destination.address.text === forbidden;
    net.csvn.revise();
    circuit.writeDatagram(kept, host.port, bytes("x"));
    const { address, error } = await circuit.readDatagram();
    assertEquals([address, error], [kept, 0]);
    await circuit.close();
    await nothingLeft(net);
  }
});

Deno.test("a VM all of whose 9,000 circuits are cut while it sleeps is not at fault, and takes new connections after", async () => {
  const policy = new Policy();
  await using net = await startTestSwitch({
    ...policy.options,
    limits: { ringBytes: 16 << 10, arenaBytes: 2 ** 30 },
  });
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80, 80, 60_000);
  await b.listen(81);
  for (let round = 0; round < 90; round++) {
    for (const token of Array.from({ length: 100 }, () => a.postConnect(b.address, 80))) await a.answer(token);
  }
  await b.suspend();
  policy.denied = ({ destination }) => destination.port === 80;
  assertEquals(net.csvn.revise(), { checked: 9_000, cut: 9_000 });
  assertEquals(net.log.filter((line) => line.includes(" cut: ")).length, 20);
  assert(net.log.includes("8980 more connections were cut"));
  await until("its resets", () => a.resets.size === 9_000);
  b.resume();
  await until("the other's", () => b.resets.size === 9_000);
  await a.mustConnect(b.address, 81);
});

/** A listener that takes no more connections. */
async function fullListener(): Promise<{ port: number } & AsyncDisposable> {
  const listener = Deno.listen({ hostname: HOSTNAME, port: 0, tcpBacklog: 1 } as Deno.TcpListenOptions);
  const connections: Promise<Deno.TcpConn | undefined>[] = [];
  const { port } = listener.addr as Deno.NetAddr;
  for (let i = 0; i < 8; i++) connections.push(Deno.connect({ hostname: HOSTNAME, port }).catch(() => undefined));
  await new Promise((resolve) => setTimeout(resolve, 100));
  return {
    port,
    async [Symbol.asyncDispose](): Promise<void> {
      listener.close();
      for (const connection of connections) (await connection)?.close();
    },
  };
}

Deno.test("datagrams to the outside: each destination by itself, both ways, and again when it is allowed again", async () => {
  await using one = await HostSocket.bind(HOSTNAME);
  await using two = await HostSocket.bind(HOSTNAME);
  for (const [onDeny, errno] of [["refuse", Errno.ECONNREFUSED], ["prohibit", Errno.EACCES], ["drop", 0]] as const) {
    const policy = new Policy();
    await using net = await startTestSwitch({
      ...policy.options,
      allowHost: [one, two].map(({ port }) => ({ address: parseAddress(HOSTNAME), port })),
    });
    await using vm = await FakeDriver.boot(net.socket);
    const connect = async (port: number): Promise<void> => {
      const { error } = await vm.answer(vm.postConnect(GATEWAY, port, { protocol: 17, port: 5000 }));
      assertEquals(error, 0);
    };
    const circuit = vm.circuitOf(await vm.answer(vm.postConnect(GATEWAY, one.port, { protocol: 17, port: 5000 })));
    assert(typeof circuit !== "number");
    await connect(two.port);
    const pass = async (socket: HostSocket, what: string): Promise<number> => {
      const before = socket.got.length;
      circuit.writeDatagram(GATEWAY, socket.port, bytes(what));
      await until(what, () => socket.got.length > before);
      const { payload, from } = socket.got.at(-1)!;
      assertEquals(text(payload), what);
      socket.send(bytes("answer"), from.port);
      const answer = await circuit.readDatagram();
      assertEquals([answer.port, answer.error, text(answer.payload)], [socket.port, 0, "answer"]);
      return from.port;
    };
    await pass(one, "before");
    const source = await pass(two, "before");
    policy.denied = ({ destination }) => destination.port === two.port;
    policy.onDeny = onDeny;
    assertEquals(net.csvn.forbidden(policy.options.verdict).map(({ circuit }) => circuit), [1]);
    assertEquals(net.csvn.revise(), { checked: 2, cut: 1 });
    assertEquals(net.csvn.revise(), { checked: 2, cut: 0 });
    const { hostDropped } = net.csvn.status().plane;
    const had = two.got.length;
    for (let i = 0; i < 5; i++) circuit.writeDatagram(GATEWAY, two.port, bytes("forbidden"));
    two.send(bytes("forbidden"), source);
    await until("all dropped", () => net.csvn.status().plane.hostDropped === hostDropped + 6);
    assertEquals(two.got.length, had);
    if (errno !== 0) {
      const answer = await circuit.readDatagram();
      assertEquals([answer.address, answer.port, answer.error], [GATEWAY, two.port, errno]);
    }
    await pass(one, "the neighbour, and no second error in front of its answer");
    policy.denied = () => false;
    assertEquals(net.csvn.revise(), { checked: 2, cut: 0 });
    await pass(two, "again");
    await circuit.close();
    await nothingLeft(net);
    const { port } = two;
    assertEquals(policy.recorder.lines.filter((line) => line.includes(`:${port} `)), [
      `opened vm1 -> host:${port} 1`,
      `closed vm1 -> host:${port} 1 policy`,
      `opened vm1 -> host:${port} 1`,
      `closed vm1 -> host:${port} 1 closed`,
    ]);
    assertEquals(policy.recorder.outcomes.map(({ sent, received }) => [sent, received]).slice(0, 1), [[6n, 6n]]);
  }
});

Deno.test("a published datagram port: each source by itself, those that were denied from the first too", async () => {
  const policy = new Policy();
  const probe = await HostSocket.bind(HOSTNAME);
  await probe[Symbol.asyncDispose]();
  await using net = await startTestSwitch({
    ...policy.options,
    publish: [{ protocol: "udp", host: { address: parseAddress(HOSTNAME), port: probe.port }, vm: "vm1", port: 53 }],
  });
  await using vm = await FakeDriver.boot(net.socket);
  await using one = await HostSocket.bind(HOSTNAME);
  await using two = await HostSocket.bind(HOSTNAME);
  policy.denied = ({ source }) => source.port === two.port;
  await vm.listen(53, 1, 10, "0.0.0.0", 0, 17);
  const { circuit } = await until("the port's circuit", () => vm.incoming.shift());
  const hears = async (socket: HostSocket, what: string): Promise<void> => {
    socket.send(bytes(what), probe.port);
    const got = await circuit.readDatagram();
    assertEquals([got.port, text(got.payload)], [socket.port, what]);
  };
  two.send(bytes("denied"), probe.port);
  await hears(one, "allowed");
  policy.denied = ({ source }) => source.port === one.port;
  policy.onDeny = "prohibit";
  assertEquals(net.csvn.revise(), { checked: 2, cut: 1 });
  one.send(bytes("denied"), probe.port);
  await hears(two, "allowed now");
  circuit.writeDatagram(HOSTNAME, one.port, bytes("forbidden"));
  const answer = await circuit.readDatagram();
  assertEquals([answer.port, answer.error], [one.port, Errno.EACCES]);
  policy.denied = () => false;
  assertEquals(net.csvn.revise(), { checked: 2, cut: 0 });
  await hears(one, "allowed again");
  assertEquals(one.got.length, 0);
});

Deno.test("a published datagram port forgets the oldest of too many sources", async () => {
  const policy = new Policy();
  const probe = await HostSocket.bind(HOSTNAME);
  await probe[Symbol.asyncDispose]();
  await using net = await startTestSwitch({
    ...policy.options,
    limits: { maxFlows: 2 },
    publish: [{ protocol: "udp", host: { address: parseAddress(HOSTNAME), port: probe.port }, vm: "vm1", port: 53 }],
  });
  await using vm = await FakeDriver.boot(net.socket);
  await vm.listen(53, 1, 10, "0.0.0.0", 0, 17);
  const { circuit } = await until("the port's circuit", () => vm.incoming.shift());
  await using first = await HostSocket.bind(HOSTNAME);
  const hear = async (client: HostSocket, what: string): Promise<void> => {
    client.send(bytes(what), probe.port);
    assertEquals(text((await circuit.readDatagram()).payload), what);
  };
  await hear(first, "first");
  for (let i = 0; i < 5; i++) {
    await using client = await HostSocket.bind(HOSTNAME);
    await hear(client, `${i}`);
  }
  const count = (event: string): number => policy.recorder.lines.filter((line) => line.startsWith(event)).length;
  assertEquals([count("opened"), count("closed"), net.csvn.revise()], [6, 4, { checked: 2, cut: 0 }]);
  await hear(first, "again");
  assertEquals([count("opened"), count("closed")], [7, 5], "it was asked about anew");
});

Deno.test("a verdict function that throws denies: a CONNECT, a published port, a published datagram", async () => {
  const policy = new Policy();
  const probe = await HostSocket.bind(HOSTNAME);
  await probe[Symbol.asyncDispose]();
  const host = { address: parseAddress(HOSTNAME), port: probe.port };
  await using net = await startTestSwitch({
    ...policy.options,
    publish: [{ protocol: "tcp", host, vm: "vm1", port: 80 }, { protocol: "udp", host, vm: "vm1", port: 53 }],
  });
  await using vm = await FakeDriver.boot(net.socket);
  await vm.listen(80);
  await vm.listen(53, 1, 10, "0.0.0.0", 0, 17);
  await until("the port's circuit", () => vm.incoming.shift());
  policy.denied = () => {
    throw new Error("because of the test");
  };
  assertEquals(await vm.connect(vm.address, 80), Errno.ECONNREFUSED);
  await assertRejects(async () => {
    using connection = await Deno.connect({ hostname: HOSTNAME, port: probe.port });
    await connection.read(new Uint8Array(1));
  }, Deno.errors.ConnectionReset);
  await using client = await HostSocket.bind(HOSTNAME);
  client.send(bytes("x"), probe.port);
  const denied = (): string[] =>
    net.log.filter((line) => line.includes("threw an exception: Error: because of the test"));
  await until("three denials", () => denied().length === 3);
  assertEquals(vm.incoming, []);
});

Deno.test("a peer that was cut may read what is in its ring", async () => {
  const policy = new Policy();
  await using net = await startTestSwitch(policy.options);
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  const here = await a.mustConnect(b.address, 80);
  const { circuit: there } = await b.accept();
  here.write(bytes("last words"));
  policy.denied = () => true;
  net.csvn.revise();
  await until("the reset", () => b.resets.has(there.id));
  assertEquals(text(there.read()), "last words");
  here.setState(State.RESET | State.CLOSED);
  await here.close();
  await there.close();
  await nothingLeft(net);
});
