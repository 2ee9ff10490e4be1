import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Errno } from "../../../src/errno.ts";
import { encodeU64, FEATURES, PROTOCOL_FEATURES, ProtocolError, Request } from "../../../src/vhost/protocol.ts";
import { Session } from "../../../src/vhost/session.ts";
import { settle } from "../../support/fake_clock.ts";
import { FakeConnection, FakeDescriptor, FakeDevice } from "../../support/fake_vhost.ts";
import { asyncProperty } from "../../support/property.ts";

const u32s = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
const u64s = (...values: bigint[]): Uint8Array => new Uint8Array(BigUint64Array.from(values).buffer);
const join = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));

class Fixture implements Disposable {
  readonly connection = new FakeConnection();
  readonly device = new FakeDevice();
  readonly session = new Session(this.connection, this.device);
  readonly descriptors: FakeDescriptor[] = [];

  /** A message with that many descriptors; what was sent in reply. */
  async say(
    request: number,
    payload: Uint8Array = new Uint8Array(),
    descriptors: number | string[] = 0,
    flags = 1,
  ): Promise<Uint8Array | undefined> {
    const files = typeof descriptors === "number" ? Array<string>(descriptors).fill("file") : descriptors;
    const given = files.map((file) => new FakeDescriptor(file));
    this.descriptors.push(...given);
    this.connection.sent.length = 0;
    await this.session.message(request, flags, payload, given);
    return this.connection.sent[0]?.payload;
  }

  async negotiate(protocolFeatures = PROTOCOL_FEATURES): Promise<this> {
    await this.say(Request.SET_PROTOCOL_FEATURES, encodeU64(protocolFeatures));
    await this.say(Request.SET_FEATURES, encodeU64(FEATURES));
    return this;
  }

  async start(queue: number): Promise<void> {
    await this.say(Request.SET_VRING_NUM, u32s(queue, 256));
    await this.say(Request.SET_VRING_ADDR, join(u32s(queue, 0), u64s(1n, 2n, 3n, 0n)));
    await this.say(Request.SET_VRING_KICK, u64s(BigInt(queue)), 1);
    await this.say(Request.SET_VRING_ENABLE, u32s(queue, 1));
  }

  [Symbol.dispose](): void {
    this.session[Symbol.dispose]();
  }
}

Deno.test("Session answers what it is asked", async () => {
  using f = await new Fixture().negotiate();
  assertEquals(await f.say(Request.GET_FEATURES), encodeU64(FEATURES));
  assertEquals(await f.say(Request.GET_PROTOCOL_FEATURES), encodeU64(PROTOCOL_FEATURES));
  assertEquals(await f.say(Request.GET_QUEUE_NUM), encodeU64(2n));
  const shmem = (await f.say(Request.GET_SHMEM_CONFIG))!;
  assertEquals([shmem.length, [...shmem.subarray(0, 16)]], [8 + 8 * 256, [
    1,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    64,
    0,
    0,
    0,
    0,
  ]]);
  assertEquals(f.session.canMap, true);
  assertEquals((await new Fixture().negotiate(1n << 3n)).session.canMap, false);
});

Deno.test("Session acknowledges only what asks for it, and only when that was negotiated", async () => {
  using f = new Fixture();
  assertEquals(await f.say(Request.SET_OWNER, undefined, 0, 9), undefined);
  await f.negotiate();
  assertEquals(await f.say(Request.SET_OWNER), undefined);
  assertEquals(await f.say(Request.SET_OWNER, undefined, 0, 9), encodeU64(0n));
  assertEquals(f.connection.sent[0]?.flags, 5);
});

Deno.test("Session runs the device when all queues run, and says when they do not any more", async () => {
  using f = await new Fixture().negotiate();
  await f.start(0);
  assertEquals(f.device.log, []);
  await f.start(1);
  assertEquals(f.device.log, ["started"]);
  assertEquals(await f.say(Request.GET_VRING_BASE, u32s(1, 0)), u32s(1, 7));
  await f.say(Request.SET_VRING_ENABLE, u32s(0, 0));
  assertEquals([f.device.log, f.device.queues.running.size], [["started", "stopped"], 0]);
  await f.start(0);
  await f.start(1);
  await f.say(Request.RESET_OWNER);
  assertEquals(f.device.log, ["started", "stopped", "started", "stopped"]);
  await f.start(0);
  await f.start(1);
  f.session[Symbol.dispose]();
  assertEquals(f.device.log.length, 6);
});

Deno.test("a device is stopped as soon as that is asked for, and the front-end told when it is", async () => {
  using f = await new Fixture().negotiate();
  await f.start(0);
  await f.start(1);
  const { acknowledgements } = f.device.queues;
  acknowledgements.held = true;
  const stopped = f.say(Request.GET_VRING_BASE, u32s(1, 0));
  await settle();
  assertEquals([f.device.log, f.connection.sent.length], [["started", "stopped"], 0]);
  acknowledgements.release();
  assertEquals(await stopped, u32s(1, 7));
});

Deno.test("messages are handled in their order, however long one takes", async () => {
  using f = await new Fixture().negotiate();
  const { acknowledgements } = f.device.queues;
  acknowledgements.held = true;
  const started = f.start(0);
  await settle();
  const other = f.say(Request.GET_FEATURES);
  await settle();
  assertEquals([f.device.queues.running.size, f.connection.sent.length], [1, 0]);
  acknowledgements.release();
  await started;
  assertEquals(await other, encodeU64(FEATURES));
});

Deno.test("a session that ends while a message is handled sends nothing more, and keeps no descriptor", async () => {
  const f = await new Fixture().negotiate();
  const { acknowledgements } = f.device.queues;
  acknowledgements.held = true;
  const messages = [f.start(0), f.say(Request.SET_VRING_ERR, u64s(0n), 1), f.say(Request.GET_FEATURES)];
  await settle();
  f[Symbol.dispose]();
  acknowledgements.held = false;
  acknowledgements.release();
  await Promise.all(messages);
  assertEquals([f.connection.sent.length, f.device.log], [0, []]);
  assertEquals(f.descriptors.filter(({ state }) => state === "open").length, 0);
});

Deno.test("a front-end that does not wait for its replies is refused", async () => {
  using f = await new Fixture().negotiate();
  f.device.queues.acknowledgements.held = true;
  const messages = Array.from({ length: 1030 }, () => f.session.message(Request.SET_MEM_TABLE, 1, u32s(0, 0), []));
  await assertRejects(() => messages.at(-1)!, ProtocolError, "does not wait");
  f.device.queues.acknowledgements.held = false;
  f.device.queues.acknowledgements.release();
  await Promise.allSettled(messages);
});

Deno.test("Session leaves arenas out of the memory table", async () => {
  using f = await new Fixture().negotiate();
  const region = (n: bigint): Uint8Array => u64s(n, 4096n, n << 20n, 0n);
  await f.say(Request.SET_MEM_TABLE, join(u32s(2, 0), region(1n), region(2n)), ["arena", "file"]);
  assertEquals(f.device.queues.regions.map(({ guest, size, user, offset }) => [guest, size, user, offset]), [
    [2n, 4096n, 2n << 20n, 0n],
  ]);
  assertEquals(f.descriptors.map(({ state }) => state), ["closed", "closed"]);
});

Deno.test("GET_CONFIG reads any part of the configuration space, and zeros behind it", async () => {
  using f = await new Fixture().negotiate();
  for (
    const [offset, size, expected] of [[0, 3, [0, 1, 2]], [126, 4, [126, 127, 0, 0]], [0xffffffff, 2, [0, 0]]] as const
  ) {
    const reply = (await f.say(Request.GET_CONFIG, join(u32s(offset, size, 0), new Uint8Array(size).fill(9))))!;
    assertEquals([...reply.subarray(12)], [...expected]);
  }
});

Deno.test("what the data plane refuses is the front-end's fault, by name", async () => {
  using f = await new Fixture().negotiate();
  f.device.queues.errno = Errno.EPERM;
  await assertRejects(
    () => f.say(Request.SET_MEM_TABLE, join(u32s(1, 0), u64s(0n, 1n, 0n, 0n)), 1),
    ProtocolError,
    "SET_MEM_TABLE: cannot map guest memory: EPERM",
  );
  assertEquals(f.descriptors.map(({ state }) => state), ["closed"]);
});

Deno.test("every message is refused with a byte or a descriptor too many or too few, and its descriptors are closed", async () => {
  for (const [name, request] of Object.entries(Request)) {
    const f = await new Fixture().negotiate();
    await assertRejects(() => f.say(request, new Uint8Array(300), 0), ProtocolError, `${name}: payload of 300 bytes`);
    const errors: string[] = [];
    for (const size of [0, 8, 12, 40]) {
      errors.push((await assertRejects(() => f.say(request, new Uint8Array(size), 9), ProtocolError)).message);
    }
    assertEquals(errors.some((message) => /9 descriptors/.test(message)), true, name);
    assertEquals(f.descriptors.filter(({ state }) => state === "open"), []);
    f[Symbol.dispose]();
  }
});

Deno.test("backendMessage() takes no descriptors", async () => {
  using f = await new Fixture().negotiate();
  const descriptor = new FakeDescriptor();
  assertThrows(
    () => f.session.backendMessage(9, 5, encodeU64(0n), [descriptor]),
    ProtocolError,
    "descriptor with a reply",
  );
  assertEquals(descriptor.state, "closed");
});

Deno.test("no sequence of messages leaves a descriptor open, or throws anything but ProtocolError", async () => {
  const message = fc.record({
    request: fc.oneof(fc.constantFrom(...Object.values(Request)), fc.nat(60)),
    flags: fc.constantFrom(1, 9, 9, 1, 0, 5),
    payload: fc.oneof(
      fc.tuple(fc.nat(3), fc.constantFrom(0, 1, 2, 256, 65535, 0x100)).map(([a, b]) => u32s(a, b)),
      fc.nat(2).map((queue) => join(u32s(queue, 0), u64s(16n, 32n, 64n, 0n))),
      fc.constantFrom(encodeU64(FEATURES), encodeU64(PROTOCOL_FEATURES), encodeU64(0n), new Uint8Array()),
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Uint8Array.from(bytes)),
    ),
    descriptors: fc.constantFrom(0, 0, 1, 1, 2, 8),
    errno: fc.constantFrom(0, 0, 0, Errno.EFAULT),
  });
  await asyncProperty(
    fc.asyncProperty(fc.array(message, { maxLength: 30 }), async (messages) => {
      const f = await new Fixture().negotiate();
      for (const { request, flags, payload, descriptors, errno } of messages) {
        f.device.queues.errno = errno;
        try {
          await f.say(request, payload, descriptors, flags);
        } catch (error) {
          // The session goes on here, where the switch would end it: more is tried.
          if (!(error instanceof ProtocolError)) throw error;
        }
      }
      f.device.queues.errno = 0;
      f[Symbol.dispose]();
      assertEquals(f.descriptors.filter(({ state }) => state === "open").length, 0);
      assertEquals(f.device.queues.running.size, 0);
      assertEquals(f.device.log.filter((word) => word === "started").length * 2, f.device.log.length);
    }),
    500,
  );
});
