import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Errno } from "../../../src/errno.ts";
import { encodeU64, FEATURES, PROTOCOL_FEATURES, ProtocolError, Request } from "../../../src/vhost/protocol.ts";
import { Session } from "../../../src/vhost/session.ts";
import { FakeConnection, FakeDescriptor, FakeDevice } from "../../support/fake_vhost.ts";
import { property } from "../../support/property.ts";

const u32s = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
const u64s = (...values: bigint[]): Uint8Array => new Uint8Array(BigUint64Array.from(values).buffer);
const join = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));

class Fixture implements Disposable {
  readonly connection = new FakeConnection();
  readonly device = new FakeDevice();
  readonly session = new Session(this.connection, this.device);
  readonly descriptors: FakeDescriptor[] = [];

  /** A message with that many descriptors; what was sent in reply. */
  say(
    request: number,
    payload: Uint8Array = new Uint8Array(),
    descriptors: number | string[] = 0,
    flags = 1,
  ): Uint8Array | undefined {
    const files = typeof descriptors === "number" ? Array<string>(descriptors).fill("file") : descriptors;
    const given = files.map((file) => new FakeDescriptor(file));
    this.descriptors.push(...given);
    this.connection.sent.length = 0;
    this.session.message(request, flags, payload, given);
    return this.connection.sent[0]?.payload;
  }

  negotiate(protocolFeatures = PROTOCOL_FEATURES): this {
    this.say(Request.SET_PROTOCOL_FEATURES, encodeU64(protocolFeatures));
    this.say(Request.SET_FEATURES, encodeU64(FEATURES));
    return this;
  }

  start(queue: number): void {
    this.say(Request.SET_VRING_NUM, u32s(queue, 256));
    this.say(Request.SET_VRING_ADDR, join(u32s(queue, 0), u64s(1n, 2n, 3n, 0n)));
    this.say(Request.SET_VRING_KICK, u64s(BigInt(queue)), 1);
    this.say(Request.SET_VRING_ENABLE, u32s(queue, 1));
  }

  [Symbol.dispose](): void {
    this.session[Symbol.dispose]();
  }
}

Deno.test("Session answers what it is asked", () => {
  using f = new Fixture().negotiate();
  assertEquals(f.say(Request.GET_FEATURES), encodeU64(FEATURES));
  assertEquals(f.say(Request.GET_PROTOCOL_FEATURES), encodeU64(PROTOCOL_FEATURES));
  assertEquals(f.say(Request.GET_QUEUE_NUM), encodeU64(2n));
  const shmem = f.say(Request.GET_SHMEM_CONFIG)!;
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
  assertEquals(new Fixture().negotiate(1n << 3n).session.canMap, false);
});

Deno.test("Session acknowledges only what asks for it, and only when that was negotiated", () => {
  using f = new Fixture();
  assertEquals(f.say(Request.SET_OWNER, undefined, 0, 9), undefined);
  f.negotiate();
  assertEquals(f.say(Request.SET_OWNER), undefined);
  assertEquals(f.say(Request.SET_OWNER, undefined, 0, 9), encodeU64(0n));
  assertEquals(f.connection.sent[0]?.flags, 5);
});

Deno.test("Session runs the device when all queues run, and says when they do not any more", () => {
  using f = new Fixture().negotiate();
  f.start(0);
  assertEquals(f.device.log, []);
  f.start(1);
  assertEquals(f.device.log, ["started"]);
  assertEquals(f.say(Request.GET_VRING_BASE, u32s(1, 0)), u32s(1, 7));
  f.say(Request.SET_VRING_ENABLE, u32s(0, 0));
  assertEquals([f.device.log, f.device.queues.running.size], [["started", "stopped"], 0]);
  f.start(0);
  f.start(1);
  f.say(Request.RESET_OWNER);
  assertEquals(f.device.log, ["started", "stopped", "started", "stopped"]);
  f.start(0);
  f.start(1);
  f.session[Symbol.dispose]();
  assertEquals(f.device.log.length, 6);
});

Deno.test("Session leaves arenas out of the memory table", () => {
  using f = new Fixture().negotiate();
  const region = (n: bigint): Uint8Array => u64s(n, 4096n, n << 20n, 0n);
  f.say(Request.SET_MEM_TABLE, join(u32s(2, 0), region(1n), region(2n)), ["arena", "file"]);
  assertEquals(f.device.queues.regions.map(({ guest, size, user, offset }) => [guest, size, user, offset]), [
    [2n, 4096n, 2n << 20n, 0n],
  ]);
  assertEquals(f.descriptors.map(({ state }) => state), ["closed", "closed"]);
});

Deno.test("GET_CONFIG reads any part of the configuration space, and zeros behind it", () => {
  using f = new Fixture().negotiate();
  for (
    const [offset, size, expected] of [[0, 3, [0, 1, 2]], [126, 4, [126, 127, 0, 0]], [0xffffffff, 2, [0, 0]]] as const
  ) {
    const reply = f.say(Request.GET_CONFIG, join(u32s(offset, size, 0), new Uint8Array(size).fill(9)))!;
    assertEquals([...reply.subarray(12)], [...expected]);
  }
});

Deno.test("what the data plane refuses is the front-end's fault, by name", () => {
  using f = new Fixture().negotiate();
  f.device.queues.errno = Errno.EPERM;
  assertThrows(
    () => f.say(Request.SET_MEM_TABLE, join(u32s(1, 0), u64s(0n, 1n, 0n, 0n)), 1),
    ProtocolError,
    "SET_MEM_TABLE: cannot map guest memory: EPERM",
  );
  assertEquals(f.descriptors.map(({ state }) => state), ["closed"]);
});

Deno.test("every message is refused with a byte or a descriptor too many or too few, and its descriptors are closed", () => {
  for (const [name, request] of Object.entries(Request)) {
    const f = new Fixture().negotiate();
    assertThrows(() => f.say(request, new Uint8Array(300), 0), ProtocolError, `${name}: payload of 300 bytes`);
    const sizes = [0, 8, 12, 40].filter((size) => {
      try {
        f.say(request, new Uint8Array(size), 9);
        return true;
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        return /9 descriptors/.test(error.message);
      }
    });
    assertEquals(sizes.length >= 1, true, name);
    assertEquals(f.descriptors.filter(({ state }) => state === "open"), []);
    f[Symbol.dispose]();
  }
});

Deno.test("backendMessage() takes no descriptors", () => {
  using f = new Fixture().negotiate();
  const descriptor = new FakeDescriptor();
  assertThrows(
    () => f.session.backendMessage(9, 5, encodeU64(0n), [descriptor]),
    ProtocolError,
    "descriptor with a reply",
  );
  assertEquals(descriptor.state, "closed");
});

Deno.test("no sequence of messages leaves a descriptor open, or throws anything but ProtocolError", () => {
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
  property(
    fc.property(fc.array(message, { maxLength: 30 }), (messages) => {
      const f = new Fixture().negotiate();
      for (const { request, flags, payload, descriptors, errno } of messages) {
        f.device.queues.errno = errno;
        try {
          f.say(request, payload, descriptors, flags);
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
