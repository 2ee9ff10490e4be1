/**
 * Circuits to the host's stack and published ports: a fake guest, the real switch, real sockets on loopback addresses of the
 * tests' own.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Errno } from "../../src/errno.ts";
import { parseAddress } from "../../src/net/address.ts";
import { RequestType } from "../../src/circuit/records.ts";
import { State } from "../support/fake_circuit.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { serveTcp } from "../support/host_server.ts";
import { startTestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const HOSTNAME = "127.77.1.1";
const serve = (handle: Parameters<typeof serveTcp>[1]): ReturnType<typeof serveTcp> => serveTcp(HOSTNAME, handle);
const GATEWAY = "10.77.0.1";
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);

const allow = (port: number) => ({ allowHost: [{ address: parseAddress(HOSTNAME), port }] });

Deno.test("a VM reaches a port of the host that was opened to it, both ways and to the end", async () => {
  await using server = serve(async (connection) => {
    await connection.readable.pipeTo(connection.writable); // echo, with half-close
  });
  await using net = await startTestSwitch(allow(server.port));
  await using vm = await FakeDriver.boot(net.socket);
  for (const address of [GATEWAY, HOSTNAME]) {
    const circuit = await vm.mustConnect(address, server.port);
    assertEquals(circuit.write(bytes("hello")), 5);
    circuit.ring();
    assertEquals(text(await circuit.readAll(5)), "hello");
    circuit.setState(State.FIN);
    circuit.ring();
    await until("the echo's end of file", () => circuit.peerState & State.FIN);
    assertEquals(await circuit.close(), 0);
  }
  await until("nothing left", () => net.csvn.status().circuits.open === 0);
  const { plane } = net.csvn.status();
  assertEquals([plane.hostCircuits, plane.routes, plane.hostReceived, plane.hostSent], [0, 0, 10, 10]);
  assert(
    net.log.some((line) =>
      /closed: vm1 .* -> host 127\.77\.1\.1:\d+, tcp by the host's stack, 5 bytes there, 5 back/.test(line)
    ),
  );
});

Deno.test("more bytes than a ring holds, in both directions at once", async () => {
  await using server = serve(async (connection) => {
    await connection.readable.pipeTo(connection.writable);
  });
  await using net = await startTestSwitch({ ...allow(server.port), limits: { ringBytes: 16 << 10 } });
  await using vm = await FakeDriver.boot(net.socket);
  const circuit = await vm.mustConnect(GATEWAY, server.port);
  const sent = crypto.getRandomValues(new Uint8Array(60_000));
  const all = new Uint8Array(sent.length * 10);
  for (let i = 0; i < 10; i++) all.set(sent, i * sent.length);
  let written = 0;
  const got: number[] = [];
  await until("all echoed", () => {
    written += circuit.write(all.subarray(written));
    got.push(...circuit.read());
    circuit.ring();
    return got.length === all.length;
  }, 20_000);
  assertEquals(Uint8Array.from(got), all);
  await circuit.close();
});

Deno.test("connect errors come back as themselves", async () => {
  const closed = Deno.listen({ hostname: HOSTNAME, port: 0 });
  const { port } = closed.addr;
  closed.close();
  await using net = await startTestSwitch(allow(port));
  await using vm = await FakeDriver.boot(net.socket);
  assertEquals(await vm.connect(GATEWAY, port), Errno.ECONNREFUSED);
  assertEquals(net.csvn.status().circuits.open, 0);
  assertEquals(net.csvn.status().plane.hostCircuits, 0);
});

Deno.test("resets pass both ways", async (t) => {
  const resets: string[] = [];
  await using server = serve(async (connection) => {
    const buffer = new Uint8Array(100);
    try {
      const n = await connection.read(buffer);
      if (n && buffer[0] === 120) {
        await connection.write(bytes("unread"));
        await connection.read(buffer);
      }
    } catch (error) {
      resets.push((error as Error).name);
    }
    connection.close();
  });
  await using net = await startTestSwitch(allow(server.port));
  await using vm = await FakeDriver.boot(net.socket);
  await t.step("by the server, which leaves bytes unread", async () => {
    const circuit = await vm.mustConnect(GATEWAY, server.port);
    circuit.write(new Uint8Array(5000));
    circuit.ring();
    await until("the reset", () => circuit.peerState & State.RESET);
    assertEquals(await circuit.close(), 0);
  });
  await t.step("by the guest", async () => {
    const circuit = await vm.mustConnect(GATEWAY, server.port);
    circuit.write(bytes("x"));
    circuit.ring();
    assertEquals(text(await circuit.readAll(6)), "unread");
    circuit.setState(State.RESET | State.CLOSED);
    circuit.ring();
    await until("the server's reset", () => resets.includes("ConnectionReset"));
    await circuit.close();
  });
  await t.step("by the guest's end", async () => {
    resets.length = 0;
    const other = await FakeDriver.boot(net.socket);
    const circuit = await other.mustConnect(GATEWAY, server.port);
    circuit.write(bytes("x"));
    circuit.ring();
    assertEquals(text(await circuit.readAll(6)), "unread");
    await other[Symbol.asyncDispose]();
    await until("the server's reset", () => resets.includes("ConnectionReset"));
  });
  await until("nothing left", () => net.csvn.status().circuits.open === 0);
  assertEquals(net.csvn.status().plane.hostCircuits, 0);
});

Deno.test("a guest that closes without a word in its control page leaves no socket behind", async () => {
  await using server = serve(async (connection) => {
    await connection.read(new Uint8Array(1)).catch(() => {});
    connection.close();
  });
  await using net = await startTestSwitch(allow(server.port));
  await using vm = await FakeDriver.boot(net.socket);
  const circuit = await vm.mustConnect(GATEWAY, server.port);
  assertEquals(
    (await vm.request(RequestType.CLOSE, [[16, new Uint8Array(Uint32Array.of(circuit.id).buffer)]], 40)).error,
    0,
  );
  await until("its end", () => net.csvn.status().plane.hostCircuits === 0);
});

Deno.test("cursors that lie end the host circuit alone", async () => {
  await using server = serve(async (connection) => {
    await connection.readable.pipeTo(connection.writable).catch(() => {});
  });
  await using net = await startTestSwitch(allow(server.port));
  await using vm = await FakeDriver.boot(net.socket);
  const honest = await vm.mustConnect(GATEWAY, server.port);
  for (const [at, value] of [[0, 1n << 40n], [0, (1n << 18n) + 1n], [64, 1n << 50n]] as const) {
    const liar = await vm.mustConnect(GATEWAY, server.port);
    liar.own.setBigUint64(at, value, true);
    liar.ring();
    if (at === 64) {
      for (let i = 0; i < 400 && !(liar.peerState & State.RESET); i++) {
        liar.write(new Uint8Array(1000));
        liar.ring();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
    await until("the reset", () => liar.peerState & State.RESET);
    await liar.close();
  }
  honest.write(bytes("still"));
  honest.ring();
  assertEquals(text(await honest.readAll(5)), "still");
  await honest.close();
  assert(net.log.some((line) => line.includes("vm1 broke the ring's rules")));
});

Deno.test("what a guest must not reach is refused, and logged", async () => {
  await using net = await startTestSwitch();
  await using vm = await FakeDriver.boot(net.socket);
  for (
    const address of [
      "127.0.0.1",
      "127.255.0.1",
      "::1",
      "::ffff:127.0.0.1",
      "169.254.169.254",
      "::ffff:169.254.169.254",
      "fe80::1",
      "fd00:ec2::254",
      "224.0.0.1",
      "ff02::1",
      "255.255.255.255",
      "240.0.0.1",
      "0.0.0.1",
      "64:ff9b::7f00:1",
      "2002:7f00:1::",
      GATEWAY,
    ]
  ) {
    net.log.length = 0;
    assertEquals(await vm.connect(address, 80), Errno.ECONNREFUSED, address);
    assert(net.log.some((line) => line.startsWith("refused: vm1")), `${address}: ${net.log.join("\n")}`);
  }
  assertEquals(await vm.connect("0.0.0.0", 80), Errno.EINVAL);
});

Deno.test("published ports reach the VM's listener, with the client's address", async (t) => {
  const host = { address: parseAddress(HOSTNAME), port: 0 };
  const probe = Deno.listen({ hostname: HOSTNAME, port: 0 });
  host.port = probe.addr.port;
  probe.close();
  await using net = await startTestSwitch({ publish: [{ protocol: "tcp", host, vm: "vm1", port: 80 }] });
  await using vm = await FakeDriver.boot(net.socket);
  const dial = (): Promise<Deno.TcpConn> => Deno.connect({ hostname: HOSTNAME, port: host.port });
  const refused = async (): Promise<boolean> => {
    try {
      (await dial()).close();
      return false;
    } catch (error) {
      return error instanceof Deno.errors.ConnectionRefused;
    }
  };
  await t.step("refused while nobody listens", async () => assert(await refused()));
  await t.step("connected", async () => {
    await vm.listen(80);
    const connection = await dial();
    const { circuit, remote, local } = await vm.accept();
    const addr = connection.localAddr as Deno.NetAddr;
    assertEquals([remote.address.text, remote.port], [addr.hostname, addr.port]);
    assertEquals([local.address.text, local.port], [vm.address, 80]);
    await connection.write(bytes("request"));
    assertEquals(text(await circuit.readAll(7)), "request");
    circuit.write(bytes("response"));
    circuit.ring();
    const buffer = new Uint8Array(100);
    assertEquals(text(buffer.subarray(0, (await connection.read(buffer)) ?? 0)), "response");
    connection.close();
    await until("the end of file", () => circuit.peerState & State.FIN);
    await circuit.close();
  });
  await t.step("refused when the listener is gone", async () => {
    await vm.unlisten(80);
    assert(await refused());
  });
  await t.step("those beyond the backlog wait, and are served", async () => {
    await vm.listen(80, 81, 5);
    const clients = await Promise.all(Array.from({ length: 40 }, dial));
    await Promise.all(clients.map((client, i) => client.write(Uint8Array.of(i))));
    const served: number[] = [];
    while (served.length < clients.length) {
      const { circuit } = await vm.accept();
      const [who] = await circuit.readAll(1);
      served.push(who!);
      circuit.write(Uint8Array.of(who!));
      await circuit.close();
    }
    assertEquals(served.toSorted((x, y) => x - y), Array.from({ length: 40 }, (_, i) => i));
    for (const client of clients) {
      const answer = new Uint8Array(1);
      assertEquals([await client.read(answer), answer[0]], [1, clients.indexOf(client)]);
      client.close();
    }
    await until("nothing left", () => net.csvn.status().circuits.open === 0);
  });
});

Deno.test("many short connections, one after another: each gets its whole answer before the end of file", async () => {
  await using server = serve(async (connection) => {
    const buffer = new Uint8Array(100);
    const n = await connection.read(buffer) ?? 0;
    await connection.write(bytes(`answer to ${text(buffer.subarray(0, n))}`));
    connection.close();
  });
  await using net = await startTestSwitch(allow(server.port));
  await using vm = await FakeDriver.boot(net.socket);
  for (let i = 0; i < 300; i++) {
    const circuit = await vm.mustConnect(GATEWAY, server.port);
    circuit.write(bytes(`question ${i}`));
    circuit.ring();
    await until("the end of file", () => circuit.peerState & State.FIN);
    assertEquals(text(circuit.read()), `answer to question ${i}`);
    await circuit.close();
  }
});

Deno.test("a peer that does not read stalls its own circuit, and no other", async () => {
  const { promise: release, resolve } = Promise.withResolvers<void>();
  await using server = serve(async (connection) => {
    const buffer = new Uint8Array(1);
    await connection.read(buffer);
    if (buffer[0] === 115) await release; // "s": silent
    else await connection.write(buffer);
    connection.close();
  });
  // The server waits for it at its end, also when the test fails.
  using released = new DisposableStack();
  released.defer(resolve);
  await using net = await startTestSwitch(allow(server.port));
  await using vm = await FakeDriver.boot(net.socket);
  const stalled = await vm.mustConnect(GATEWAY, server.port);
  stalled.write(bytes("s"));
  // Until neither the ring nor the socket takes more.
  for (let full = 0; full < 100;) {
    full = stalled.write(new Uint8Array(65536)) === 0 ? full + 1 : 0;
    stalled.ring();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  for (let i = 0; i < 20; i++) {
    const other = await vm.mustConnect(GATEWAY, server.port);
    other.write(bytes("x"));
    other.ring();
    assertEquals(text(await other.readAll(1)), "x");
    await other.close();
  }
  await until("only that one is left", () => net.csvn.status().circuits.open === 1);
  resolve();
  await stalled.close();
});

Deno.test("a guest that has closed before all was sent is given up as soon as it is, though nothing else happens", async () => {
  const { promise: release, resolve } = Promise.withResolvers<void>();
  let received = 0;
  await using server = serve(async (connection) => {
    await release;
    const buffer = new Uint8Array(65536);
    for (let n; (n = await connection.read(buffer)) !== null;) received += n;
    connection.close();
  });
  // The server waits for it at its end, also when the test fails.
  using released = new DisposableStack();
  released.defer(resolve);
  await using net = await startTestSwitch(allow(server.port));
  await using vm = await FakeDriver.boot(net.socket);
  const circuit = await vm.mustConnect(GATEWAY, server.port);
  let sent = 0;
  for (let full = 0; full < 100;) {
    const n = circuit.write(new Uint8Array(65536));
    sent += n;
    full = n === 0 ? full + 1 : 0;
    circuit.ring();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await circuit.close();
  assertEquals(net.csvn.status().circuits.open, 1);
  resolve();
  await until("all of it", () => received === sent);
  await until("its end", () => net.csvn.status().circuits.open === 0);
});

Deno.test("circuits that ring only when they are asked to are heard, whether the data plane looks or sleeps", async (t) => {
  await using server = serve(async (connection) => {
    await connection.readable.pipeTo(connection.writable).catch(() => {});
  });
  await using net = await startTestSwitch({ ...allow(server.port), limits: { ringBytes: 16 << 10 } });
  await using vm = await FakeDriver.boot(net.socket);
  // One, which nobody else wakes the data plane for, and more than it looks at (LOOKED_MAX).
  for (const count of [1, 40]) {
    await t.step(`${count}`, async () => {
      const circuits = await Promise.all(Array.from({ length: count }, () => vm.mustConnect(GATEWAY, server.port)));
      for (let round = 0; round < 100; round++) {
        for (const circuit of circuits) {
          assertEquals(circuit.write(Uint8Array.of(round)), 1);
          circuit.ringIfAsked();
        }
        for (const circuit of circuits) {
          assertEquals(await until(`circuit ${circuit.id}'s echo`, () => circuit.read()[0] === round), true);
        }
        if (round % 10 === 9) await until("all to be asleep", () => circuits.every((circuit) => circuit.asked));
      }
      await Promise.all(circuits.map((circuit) => circuit.close()));
      await until("nothing left", () => net.csvn.status().circuits.open === 0);
    });
  }
});
