/**
 * Drivers that break the device's rules: control records, virtqueues, doorbells. Each hurts its own VM, with a line in the log that
 * names it, and nobody else.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Layout, RECORD_MAX, RequestType, VERSION } from "../../src/circuit/records.ts";
import { Errno } from "../../src/errno.ts";
import { encodeEndpoint, FakeDriver } from "../support/fake_driver.ts";
import { FakeFrontEnd, u64s } from "../support/fake_front_end.ts";
import { startTestSwitch, type TestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const u32 = (...values: number[]): Uint8Array<ArrayBuffer> => new Uint8Array(Uint32Array.from(values).buffer);

Deno.test("malformed control records are answered with an errno, and logged", async (t) => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  const cases: [string, number, [number, Uint8Array][], number, number][] = [
    ["unknown type", 99, [], 16, Errno.EOPNOTSUPP],
    ["type 0", 0, [], 16, Errno.EOPNOTSUPP],
    ["another version", RequestType.LISTEN, [[2, Uint8Array.of(VERSION + 1, 0)]], 56, Errno.EINVAL],
    ["length that lies", RequestType.LISTEN, [[4, u32(55)]], 56, Errno.EINVAL],
    ["LISTEN too short", RequestType.LISTEN, [], 55, Errno.EINVAL],
    ["CONNECT too short", RequestType.CONNECT, [], 64, Errno.EINVAL],
    ["address family 5", RequestType.LISTEN, [[16, Uint8Array.of(5, 0)]], 56, Errno.EAFNOSUPPORT],
    [
      "bytes behind an IPv4 address",
      RequestType.LISTEN,
      [[16, encodeEndpoint("0.0.0.0", 80)], [35, Uint8Array.of(1)]],
      56,
      Errno.EINVAL,
    ],
    ["unknown LISTEN flags", RequestType.LISTEN, [[16, encodeEndpoint("::", 80)], [48, u32(8)]], 56, Errno.EINVAL],
    [
      "LISTEN on port 0",
      RequestType.LISTEN,
      [[16, encodeEndpoint("0.0.0.0", 0)], [52, u32(6)]],
      56,
      Errno.EINVAL,
    ],
    ["LISTEN of protocol 0", RequestType.LISTEN, [[16, encodeEndpoint("0.0.0.0", 80)]], 56, Errno.EOPNOTSUPP],
    [
      "LISTEN on another's address",
      RequestType.LISTEN,
      [[16, encodeEndpoint(b.address, 90)], [52, u32(6)]],
      56,
      Errno.EADDRNOTAVAIL,
    ],
    ["UNLISTEN of nothing", RequestType.UNLISTEN, [[16, u32(77)]], 24, Errno.ENOENT],
    ["CREDIT of nothing", RequestType.CREDIT, [[16, u32(77, 1)]], 24, Errno.ENOENT],
    ["CLOSE of nothing", RequestType.CLOSE, [[16, u32(77, 0)]], 40, Errno.ENOENT],
    ["CLOSE with unknown flags", RequestType.CLOSE, [[16, u32(77, 8)]], 40, Errno.EINVAL],
    ["CANCEL of nothing", RequestType.CANCEL, [[16, u64s(77n)]], 24, Errno.ENOENT],
    ["ARENA_VISIBLE of nothing", RequestType.ARENA_VISIBLE, [[16, u32(1, 0)]], 24, Errno.ENOENT],
    [
      "CONNECT from port 0",
      RequestType.CONNECT,
      [[16, encodeEndpoint("0.0.0.0", 0)], [40, encodeEndpoint(b.address, 80)], [64, u32(6)]],
      Layout.connect.size,
      Errno.EINVAL,
    ],
    [
      "CONNECT from another's address",
      RequestType.CONNECT,
      [[16, encodeEndpoint(b.address, 1000)], [40, encodeEndpoint(b.address, 80)], [64, u32(6)]],
      Layout.connect.size,
      Errno.EADDRNOTAVAIL,
    ],
    [
      "CONNECT of protocol 1",
      RequestType.CONNECT,
      [[16, encodeEndpoint("0.0.0.0", 1000)], [40, encodeEndpoint(b.address, 80)], [64, u32(1)]],
      Layout.connect.size,
      Errno.EOPNOTSUPP,
    ],
    [
      "CONNECT to 0.0.0.0",
      RequestType.CONNECT,
      [[16, encodeEndpoint("0.0.0.0", 1000)], [40, encodeEndpoint("0.0.0.0", 80)], [64, u32(6)]],
      Layout.connect.size,
      Errno.EINVAL,
    ],
  ];
  for (const [name, type, fields, size, errno] of cases) {
    await t.step(name, async () => {
      assertEquals((await a.request(type, fields, size)).error, errno);
    });
  }
  await t.step("a CREDIT of more than is outstanding", async () => {
    assertEquals((await b.credit(80, 1)).error, Errno.EINVAL);
  });
  await t.step("records shorter than a header, and longer than the maximum", async () => {
    for (const bytes of [new Uint8Array(0), new Uint8Array(3), new Uint8Array(15), new Uint8Array(RECORD_MAX)]) {
      a.submit(bytes);
    }
    const long = new Uint8Array(4096);
    a.submit(long.subarray(0, 127));
    await until("lines in the log", () => net.log.filter((line) => line.includes("wrong control record")).length > 10);
  });
  assert(net.log.some((line) => line.startsWith(`${a.name}: wrong control record: unknown request type 99`)));
  await a.mustConnect(b.address, 80);
});

Deno.test("two CONNECTs with one token: the second is refused", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80, 80, 0);
  await a.mustConnect(b.address, 80);
  const waiting = a.postConnect(b.address, 80);
  const fields: [number, Uint8Array][] = [
    [8, u64s(waiting)],
    [16, encodeEndpoint("0.0.0.0", 1000)],
    [40, encodeEndpoint(b.address, 80)],
    [64, u32(6)],
  ];
  a.post(RequestType.CONNECT, fields, Layout.connect.size);
  assertEquals((await a.answer(waiting)).error, Errno.EEXIST);
});

Deno.test("requests before HELLO are EPROTO", async () => {
  await using net = await startTestSwitch();
  await using front = new FakeFrontEnd(net.socket);
  await front.realize();
  await using a = new FakeDriver(front);
  await a.start();
  assertEquals((await a.listen(80)).error, Errno.EPROTO);
  assertEquals((await a.hello()).error, 0);
  assertEquals((await a.listen(80)).error, 0);
});

interface QueueCase {
  readonly name: string;
  readonly log: RegExp;
  readonly act: (driver: FakeDriver) => void;
}

const NEXT = 1, WRITE = 2, INDIRECT = 4;

function chain(queue: number, ...descriptors: [bigint, number, number, number][]): (driver: FakeDriver) => void {
  return (driver) => {
    const q = driver.queues[queue]!;
    descriptors.forEach(([guest, bytes, flags, next], i) => q.writeDescriptor(i, guest, bytes, flags, next));
    q.addHead(0);
    q.kick();
  };
}

const queueCases: QueueCase[] = [
  {
    name: "descriptor loop",
    log: /control queue: descriptor chain is a loop/,
    act: chain(0, [0x100000n, 0, NEXT, 1], [0x100000n, 0, NEXT, 0]),
  },
  {
    name: "next out of range",
    log: /control queue: descriptor index out of range/,
    act: chain(0, [0x100000n, 16, NEXT, 999]),
  },
  {
    name: "buffer outside memory",
    log: /control queue: descriptor outside guest memory/,
    act: chain(0, [0x7fff_0000_0000n, 16, 0, 0]),
  },
  {
    name: "buffer over the end of memory",
    log: /descriptor outside guest memory/,
    act: chain(0, [(4n << 20n) - 8n, 16, 0, 0]),
  },
  {
    name: "buffer address that wraps",
    log: /descriptor outside guest memory/,
    act: chain(0, [0xffff_ffff_ffff_fff8n, 16, 0, 0]),
  },
  {
    name: "readable after writable",
    log: /readable descriptor after a writable one/,
    act: chain(0, [0x100000n, 16, WRITE | NEXT, 1], [0x100000n, 16, 0, 0]),
  },
  {
    name: "no room for a response",
    log: /request without room for a response/,
    act: chain(0, [0x100000n, 16, NEXT, 1], [0x100100n, 23, WRITE, 0]),
  },
  {
    name: "too many parts",
    log: /buffer of too many parts/,
    act: chain(
      0,
      ...Array.from({ length: 9 }, (_, i): [bigint, number, number, number] => [0x100000n, 8, i < 8 ? NEXT : 0, i + 1]),
    ),
  },
  {
    name: "indirect table of no entries",
    log: /indirect table of a wrong size/,
    act: chain(0, [0x100000n, 0, INDIRECT, 0]),
  },
  {
    name: "indirect table of half an entry",
    log: /indirect table of a wrong size/,
    act: chain(0, [0x100000n, 24, INDIRECT, 0]),
  },
  {
    name: "indirect table outside memory",
    log: /indirect table outside guest memory/,
    act: chain(0, [0x7fff_0000_0000n, 32, INDIRECT, 0]),
  },
  {
    name: "indirect with a next",
    log: /indirect descriptor with a next/,
    act: chain(0, [0x100000n, 32, INDIRECT | NEXT, 1]),
  },
  {
    name: "indirect in an indirect table",
    log: /indirect descriptor where none may be/,
    // The table is the descriptor ring itself, whose first entry is the indirect one.
    act: (driver) => chain(0, [BigInt(driver.queues[0]!.desc), 32, INDIRECT, 0])(driver),
  },
  {
    name: "head out of range",
    log: /available head out of range/,
    act: (driver) => {
      driver.queues[0]!.addHead(40_000);
      driver.queues[0]!.kick();
    },
  },
  {
    name: "available index that runs ahead",
    log: /available index runs ahead/,
    act: (driver) => {
      driver.queues[0]!.setAvailableIndex(20_000);
      driver.queues[0]!.kick();
    },
  },
  { name: "doorbell of 3 bytes", log: /doorbell queue: doorbell of a wrong size/, act: chain(2, [0x100000n, 3, 0, 0]) },
  { name: "doorbell of 65 ids", log: /doorbell of a wrong size/, act: chain(2, [0x100000n, 260, 0, 0]) },
  { name: "doorbell of nothing", log: /doorbell of a wrong size/, act: chain(2, [0x100000n, 0, 0, 0]) },
];

async function faulted(net: TestSwitch, driver: FakeDriver): Promise<void> {
  await until("the fault", () => net.csvn.status().vms.find((vm) => vm.name === driver.name)?.state === "faulted");
}

Deno.test("a broken virtqueue is its VM's fault alone, until its device is reset", async (t) => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await using bad = await FakeDriver.boot(net.socket);
  await b.listen(80);
  for (const { name, log, act } of queueCases) {
    await t.step(name, async () => {
      net.log.length = 0;
      await bad.listen(81);
      const circuit = await a.mustConnect(bad.address, 81);
      act(bad);
      await faulted(net, bad);
      const line = net.log.find((text) => text.startsWith(`${bad.name} broke its device`) && log.test(text));
      assert(line, `no line like ${log} in:\n${net.log.join("\n")}`);
      await until("the peer's reset", () => a.resets.has(circuit.id));
      a.resets.clear();
      assertEquals(await circuit.close(), 0);
      assertEquals(await a.connect(bad.address, 81), Errno.EHOSTUNREACH);
      await a.mustConnect(b.address, 80);
      await bad.stop();
      await bad.start();
      assertEquals((await bad.hello()).error, 0);
    });
  }
});

Deno.test("doorbells for others' circuits go nowhere", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await using stranger = await FakeDriver.boot(net.socket);
  await b.listen(80);
  await a.mustConnect(b.address, 80);
  for (let id = 0; id < 64; id++) stranger.ring(id);
  stranger.ring(0xffffffff);
  await until("65 strays", () => net.csvn.status().plane.strays === 65);
  assertEquals([a.wakes, b.wakes], [[], []]);
});

Deno.test("a driver that floods its control queue is slowed down, and others are not", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await using c = await FakeDriver.boot(net.socket);
  await c.listen(80);
  const tokens: bigint[] = [];
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 100; i++) tokens.push(a.post(RequestType.UNLISTEN, [[16, u32(i)]], 24));
    await b.mustConnect(c.address, 80);
    for (const token of tokens.splice(0)) await a.answer(token);
  }
});

Deno.test("a driver that posts no event buffers is at fault when too many events wait", async () => {
  await using net = await startTestSwitch({ limits: { ringBytes: 16 << 10, arenaBytes: 2 ** 30 } });
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80, 80, 60_000);
  await a.mustConnect(b.address, 80);
  await b.suspend();
  for (let round = 0; round < 100; round++) {
    for (const token of Array.from({ length: 100 }, () => a.postConnect(b.address, 80))) await a.answer(token);
  }
  await faulted(net, b);
  assert(net.log.some((line) => line.includes("the driver does not read its events")));
});

Deno.test("a peer's violation, told by CLOSE, resets the circuit at both ends", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  const here = await a.mustConnect(b.address, 80);
  const other = await a.mustConnect(b.address, 80);
  const { circuit: there } = await b.accept();
  here.own.setBigUint64(0, 1n << 40n, true);
  assertEquals(await there.close(1), 0);
  await until("the reset", () => a.resets.get(here.id) === Errno.ECONNRESET);
  assertEquals(a.resets.has(other.id), false);
  assert(net.log.some((line) => line.includes("vm1 broke the ring's rules, says vm2")));
  assertEquals(await here.close(), 0);
});

Deno.test("an arena that cannot be mapped fails its connections, and the next try works", async (t) => {
  await using net = await startTestSwitch({ limits: { arenaAnswerMs: 100 } });
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  await t.step("the front-end refuses", async () => {
    b.frontEnd.mapAnswer = 1n;
    assertEquals(await a.connect(b.address, 80), Errno.ENOBUFS);
    b.frontEnd.mapAnswer = 0n;
  });
  await t.step("the driver does not answer", async () => {
    b.answersArenas = false;
    assertEquals(await a.connect(b.address, 80), Errno.ENOBUFS);
    b.answersArenas = true;
  });
  await t.step("the driver goes down meanwhile", async () => {
    b.answersArenas = false;
    // Not the question that it has not answered before.
    const before = b.events.length;
    const token = a.postConnect(b.address, 80);
    await until("the question", () => b.events.slice(before).some(({ type }) => type === 3));
    await b.bye();
    assertEquals((await a.answer(token)).error, Errno.ECONNREFUSED);
    b.answersArenas = true;
    await b.stop();
    await b.start();
    await b.hello();
    await b.listen(80);
  });
  await a.mustConnect(b.address, 80);
});
