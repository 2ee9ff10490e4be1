/**
 * Front-ends that break the vhost-user protocol: each ends its own session, with a line in the log that names what was wrong,
 * and nobody else notices.
 *
 * @module
 */

import { assert, assertEquals, fail } from "@std/assert";
import { FakeDriver } from "../support/fake_driver.ts";
import { FakeFrontEnd, FEATURES, u32s, u64s, USER_BASE } from "../support/fake_front_end.ts";
import * as native from "../support/native.ts";
import { startTestSwitch, type TestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const table = (guest: bigint, size: bigint, user: bigint, offset: bigint): Uint8Array => {
  const payload = new Uint8Array(40);
  payload.set(u32s(1, 0));
  payload.set(u64s(guest, size, user, offset), 8);
  return payload;
};

async function vrings(
  f: FakeFrontEnd,
  change: { size?: number; desc?: bigint; avail?: bigint; used?: bigint; kick?: number },
): Promise<void> {
  f.send(2, u64s(FEATURES));
  await f.setMemory();
  f.send(8, u32s(0, change.size ?? 256));
  f.send(10, u32s(0, 0));
  const payload = new Uint8Array(40);
  payload.set(
    u64s(change.desc ?? USER_BASE, change.used ?? USER_BASE + 16384n, change.avail ?? USER_BASE + 8192n, 0n),
    8,
  );
  f.send(9, payload);
  f.send(12, u64s(0n), [change.kick ?? f.kicks[0]!]);
  f.send(18, u32s(0, 1));
}

interface Case {
  readonly name: string;
  /** What the log must say. */
  readonly log: RegExp;
  readonly act: (f: FakeFrontEnd) => Promise<void> | void;
}

const cases: Case[] = [
  { name: "unknown request", log: /unknown request 99/, act: (f) => f.send(99) },
  { name: "request 0", log: /unknown request 0/, act: (f) => f.send(0) },
  { name: "version 2", log: /GET_FEATURES: protocol version 2/, act: (f) => f.send(1, undefined, [], 2) },
  { name: "a reply", log: /a reply where a request belongs/, act: (f) => f.send(1, undefined, [], 5) },
  { name: "payload too long", log: /SET_OWNER: payload of 8 bytes/, act: (f) => f.send(3, u64s(1n)) },
  { name: "payload too short", log: /SET_FEATURES: payload of 4 bytes/, act: (f) => f.send(2, u32s(1)) },
  {
    name: "payload of a gigabyte",
    log: /payload over 4096 bytes/,
    act: (f) => f.sendRaw(u32s(2, 1, 1 << 30)),
  },
  {
    name: "a descriptor too many",
    log: /SET_FEATURES: 1 descriptors, not 0/,
    act: (f) => f.send(2, u64s(FEATURES), [f.memoryFd]),
  },
  {
    name: "nine descriptors",
    log: /more than 8 descriptors/,
    act: (f) => f.send(2, u64s(FEATURES), Array.from({ length: 9 }, () => f.memoryFd)),
  },
  {
    name: "thirty descriptors",
    log: /more than 8 descriptors/,
    act: (f) => f.send(2, u64s(FEATURES), Array.from({ length: 30 }, () => f.memoryFd)),
  },
  {
    name: "features that were not offered",
    log: /SET_FEATURES: bits 0x1 were not offered/,
    act: (f) => f.send(2, u64s(1n)),
  },
  {
    name: "a legacy driver",
    log: /without VIRTIO_F_VERSION_1/,
    act: (f) => f.send(2, u64s(1n << 30n)),
  },
  {
    name: "protocol features that were not offered",
    log: /SET_PROTOCOL_FEATURES: bits 0x8000 /,
    act: (f) => f.send(16, u64s(1n << 15n)),
  },
  {
    name: "GET_CONFIG without its feature",
    log: /GET_CONFIG: protocol feature 9 was not negotiated/,
    act: (f) => {
      f.send(16, u64s(0n));
      f.send(24, new Uint8Array(12 + 8));
    },
  },
  {
    name: "GET_CONFIG that asks for more than it has room for",
    log: /GET_CONFIG: 500 bytes asked for/,
    act: (f) => {
      const payload = new Uint8Array(12 + 8);
      payload.set(u32s(0, 500, 0));
      f.send(24, payload);
    },
  },
  { name: "queue index 4", log: /queue index 4 of 4 queues/, act: (f) => f.send(8, u32s(4, 256)) },
  { name: "queue index -1", log: /queue index 4294967295/, act: (f) => f.send(18, u32s(0xffffffff, 1)) },
  { name: "kick of queue 200", log: /queue index 200/, act: (f) => f.send(12, u64s(200n), [f.kicks[0]!]) },
  { name: "kick by polling", log: /polling is not supported/, act: (f) => f.send(12, u64s(0x100n)) },
  { name: "kick without its descriptor", log: /against its flag/, act: (f) => f.send(12, u64s(0n)) },
  { name: "size 0", log: /size 0 is not a power of two/, act: (f) => vrings(f, { size: 0 }) },
  { name: "size 100", log: /size 100 is not a power of two/, act: (f) => vrings(f, { size: 100 }) },
  { name: "size 2048", log: /size 2048 is not a power of two/, act: (f) => vrings(f, { size: 2048 }) },
  { name: "base 65536", log: /base 65536/, act: (f) => f.send(10, u32s(0, 65536)) },
  { name: "SET_VRING_ENABLE 2", log: /2 is neither 0 nor 1/, act: (f) => f.send(18, u32s(0, 2)) },
  {
    name: "descriptor table outside memory",
    log: /cannot start virtqueue 0: EFAULT/,
    act: (f) => vrings(f, { desc: 0x1000n }),
  },
  {
    name: "used ring over the end of memory",
    log: /cannot start virtqueue 0: EFAULT/,
    act: (f) => vrings(f, { used: USER_BASE + (4n << 20n) - 16n }),
  },
  {
    name: "addresses that wrap",
    log: /cannot start virtqueue 0: EFAULT/,
    act: (f) => vrings(f, { avail: 0xffff_ffff_ffff_fff0n }),
  },
  {
    name: "unaligned descriptor table",
    log: /cannot start virtqueue 0: ENXIO/,
    act: (f) => vrings(f, { desc: USER_BASE + 8n }),
  },
  {
    name: "unaligned used ring",
    log: /cannot start virtqueue 0: ENXIO/,
    act: (f) => vrings(f, { used: USER_BASE + 16386n }),
  },
  {
    name: "SET_VRING_NUM while it runs",
    log: /SET_VRING_NUM while it runs/,
    act: async (f) => {
      await vrings(f, {});
      f.send(8, u32s(0, 128));
    },
  },
  {
    name: "enabled without addresses",
    log: /enabled without addresses/,
    act: (f) => {
      f.send(8, u32s(0, 256));
      f.send(12, u64s(0n), [f.kicks[0]!]);
      f.send(18, u32s(0, 1));
    },
  },
  {
    name: "nine regions",
    log: /SET_MEM_TABLE: 9 regions/,
    act: (f) => {
      const payload = new Uint8Array(8 + 32 * 8);
      payload.set(u32s(9, 0));
      f.send(5, payload, [f.memoryFd]);
    },
  },
  {
    name: "a region without its descriptor",
    log: /SET_MEM_TABLE: 1 regions with 0 descriptors/,
    act: (f) => f.send(5, table(0n, 4096n, USER_BASE, 0n)),
  },
  {
    name: "a region larger than its file",
    log: /cannot map guest memory: ERANGE/,
    act: (f) => f.send(5, table(0n, 1n << 40n, USER_BASE, 0n), [f.memoryFd]),
  },
  {
    name: "a region that wraps",
    log: /cannot map guest memory: EINVAL/,
    act: (f) => f.send(5, table(0xffff_ffff_ffff_0000n, 1n << 20n, USER_BASE, 0n), [f.memoryFd]),
  },
  {
    name: "an empty region",
    log: /cannot map guest memory: EINVAL/,
    act: (f) => f.send(5, table(0n, 0n, USER_BASE, 0n), [f.memoryFd]),
  },
  {
    name: "regions that overlap",
    log: /cannot map guest memory: EINVAL/,
    act: (f) => {
      const payload = new Uint8Array(8 + 64);
      payload.set(u32s(2, 0));
      payload.set(u64s(0n, 8192n, USER_BASE, 0n, 4096n, 8192n, USER_BASE + 8192n, 0n), 8);
      f.send(5, payload, [f.memoryFd, f.memoryFd]);
    },
  },
  {
    name: "memory that can shrink",
    log: /cannot map guest memory: EPERM/,
    act: (f) => {
      const fd = native.memfd(1 << 20, false);
      f.send(5, table(0n, 1n << 20n, USER_BASE, 0n), [fd]);
      native.close(fd);
    },
  },
  {
    name: "memory that is a pipe",
    log: /descriptor that is neither memory \(a memfd\) nor an eventfd nor a unix stream socket/,
    act: (f) => {
      const [one, other] = native.pipe();
      f.send(5, table(0n, 4096n, USER_BASE, 0n), [one]);
      native.close(one);
      native.close(other);
    },
  },
  {
    name: "memory that is an eventfd",
    log: /cannot map guest memory: EPERM/,
    act: (f) => f.send(5, table(0n, 4096n, USER_BASE, 0n), [f.kicks[0]!]),
  },
  {
    name: "a kick that is memory",
    log: /cannot start virtqueue 0: EBADF/,
    act: (f) => vrings(f, { kick: f.memoryFd }),
  },
  {
    name: "a call that is memory",
    log: /cannot change the call descriptor of virtqueue 0: EBADF/,
    act: async (f) => {
      await vrings(f, {});
      f.send(13, u64s(0n), [f.memoryFd]);
    },
  },
  {
    name: "a back-end channel that is an eventfd",
    log: /cannot take over the back-end channel: ENOTSOCK/,
    act: (f) => f.send(21, undefined, [f.kicks[0]!]),
  },
  {
    name: "a reply on the back-end channel that nobody asked for",
    log: /back-end channel, which was not made/,
    act: (f) => f.replyOnBackend(9, 0n),
  },
];

/** A neighbour that must not notice anything. */
async function withNeighbours(act: (net: TestSwitch) => Promise<void>): Promise<void> {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  const here = await a.mustConnect(b.address, 80);
  const { circuit: there } = await b.accept();
  await act(net);
  here.write(Uint8Array.of(42));
  assertEquals(there.read(), Uint8Array.of(42));
  await a.mustConnect(b.address, 80);
  assertEquals(net.csvn.status().vms.map((vm) => [vm.name, vm.state]), [["vm1", "ready"], ["vm2", "ready"]]);
}

Deno.test("malformed vhost-user messages end their session alone", async (t) => {
  await withNeighbours(async (net) => {
    const { descriptors } = net.csvn.status();
    for (const { name, log, act } of cases) {
      await t.step(name, async () => {
        net.log.length = 0;
        const ours = [...Deno.readDirSync("/proc/self/fd")].length;
        {
          await using f = new FakeFrontEnd(net.socket);
          await f.realize();
          await act(f);
          await until("the session's end", () => f.ended);
          await until(
            `a line like ${log}`,
            () => net.log.some((text) => /vm3: its front-end|vm3 detached/.test(text) && log.test(text)),
          ).catch((error) => fail(`${error.message}; the log:\n${net.log.join("\n")}`));
        }
        await until(
          "no descriptor left",
          () => [...Deno.readDirSync("/proc/self/fd")].length === ours && net.csvn.status().vms.length === 2,
        );
      });
    }
    assertEquals(net.csvn.status().descriptors, descriptors);
  });
});

Deno.test("messages in single bytes, and two in one piece, are messages all the same", async () => {
  await using net = await startTestSwitch();
  await using f = new FakeFrontEnd(net.socket);
  await f.realize();
  for (const byte of u32s(17, 1, 0)) f.sendRaw(Uint8Array.of(byte));
  assertEquals(await f.reply(17), u64s(4n));
  f.sendRaw(u32s(17, 1, 0, 1, 1, 0));
  assertEquals(await f.reply(17), u64s(4n));
  assertEquals(await f.reply(1), u64s(FEATURES));
});

Deno.test("a front-end that never reads its replies is cut off", async () => {
  await using net = await startTestSwitch();
  const socket = native.connect(net.socket);
  const one = u32s(15, 1, 0);
  const many = new Uint8Array(one.length * 1000);
  for (let i = 0; i < 1000; i++) many.set(one, i * one.length);
  await until("the VM", () => net.csvn.status().vms.length === 1);
  let sent = 0;
  await until("the end", () => {
    // As much as the socket takes, which may be a part of a message.
    sent += Math.max(0, native.send(socket, many.subarray(sent % one.length)));
    return net.csvn.status().vms.length === 0;
  });
  // What it is cut off by depends on who is faster: its replies fill the socket, or its questions what may wait.
  assert(net.log.some((line) => /does not (read|wait for) its replies/.test(line)), net.log.join("\n"));
  native.close(socket);
});

Deno.test("half a message and a hang-up", async () => {
  await using net = await startTestSwitch();
  const { descriptors } = net.csvn.status();
  const socket = native.connect(net.socket);
  const memory = native.memfd(4096);
  native.send(socket, u32s(5, 1), [memory, memory]);
  // And the VM's resolver, a moment later.
  await until("connection, memory and two copies", () => net.csvn.status().descriptors >= descriptors + 5);
  native.close(memory);
  native.close(socket);
  await until("the VM's end", () => net.csvn.status().vms.length === 0);
  await until("no descriptor left", () => net.csvn.status().descriptors === descriptors);
});

Deno.test("half a message that is never completed", async () => {
  await using net = await startTestSwitch();
  const socket = native.connect(net.socket);
  // With its own end of the connection, which so never ends by itself.
  native.send(socket, u32s(5, 1), [socket]);
  native.close(socket);
  await until("the VM", () => net.csvn.status().vms.length === 1);
  await until("its end", () => net.csvn.status().vms.length === 0);
  assert(net.log.some((line) => line.includes("not completed within 5 seconds")), net.log.join("\n"));
});
