import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { BackendChannel, BackendChannelError } from "../../../src/vhost/backend_channel.ts";
import { encodeU64, ProtocolError } from "../../../src/vhost/protocol.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeConnection, FakeDescriptor } from "../../support/fake_vhost.ts";

function open(): { channel: BackendChannel; connection: FakeConnection; clock: FakeClock } {
  const connection = new FakeConnection();
  connection.attachBackend(new FakeDescriptor());
  const clock = new FakeClock();
  return { channel: new BackendChannel(connection, clock), connection, clock };
}

Deno.test("map() and unmap() send what QEMU reads, and resolve in order", async () => {
  const { channel, connection } = open();
  const order: string[] = [];
  const done = [
    channel.map(33, 4096n, 8192n, 12288n).then(() => order.push("map")),
    channel.unmap(8192n, 12288n).then(() => order.push("unmap")),
  ];
  const fields = connection.sentBackend.map(({ request, flags, payload, fd }) => [
    request,
    flags,
    fd,
    payload.length,
    ...new BigUint64Array(payload.slice().buffer),
  ]);
  assertEquals(fields, [[9, 9, 33, 40, 0n, 4096n, 8192n, 12288n, 1n], [10, 9, -1, 40, 0n, 0n, 8192n, 12288n, 0n]]);
  channel.message(9, 5, encodeU64(0n));
  channel.message(10, 5, encodeU64(0n));
  await Promise.all(done);
  assertEquals(order, ["map", "unmap"]);
});

Deno.test("map() rejects when the front-end refuses, when there is no channel, and when it closes", async () => {
  const { channel } = open();
  const refused = channel.map(1, 0n, 0n, 4096n);
  channel.message(9, 5, encodeU64(1n));
  await assertRejects(() => refused, BackendChannelError, "the front-end refused a mapping");
  const waiting = [channel.map(1, 0n, 0n, 4096n), channel.unmap(0n, 4096n)];
  channel.close();
  for (const one of waiting) await assertRejects(() => one, BackendChannelError, "was closed");
  await assertRejects(() => channel.unmap(0n, 4096n), BackendChannelError, "there is no back-end channel");
  await assertRejects(
    () => new BackendChannel(new FakeConnection(), new FakeClock()).unmap(0n, 4096n),
    BackendChannelError,
    "there is no back-end channel",
  );
});

Deno.test("message() refuses replies that nobody asked for, or that do not fit", async () => {
  const { channel } = open();
  assertThrows(() => channel.message(9, 5, encodeU64(0n)), ProtocolError, "which was not made");
  const cases = [[10, 5, 8], [9, 1, 8], [9, 5, 4], [9, 5, 16]] as const;
  for (const [request, flags, size] of cases) {
    const waiting = channel.map(1, 0n, 0n, 4096n);
    assertThrows(() => channel.message(request, flags, new Uint8Array(size)), ProtocolError, "does not fit");
    await assertRejects(() => waiting, BackendChannelError, "wrong reply");
  }
});

Deno.test("a front-end that stands still is overdue until it goes on; its replies still belong to their requests", async () => {
  const { channel, connection, clock } = open();
  const order: string[] = [];
  const done = [
    channel.map(1, 0n, 0n, 4096n).then(() => order.push("map")),
    assertRejects(() => channel.map(1, 0n, 0n, 4096n), BackendChannelError, "refused").then(() =>
      order.push("refused")
    ),
    channel.unmap(0n, 4096n).then(() => order.push("unmap")),
  ];
  await clock.pass(9_999);
  assertEquals(channel.overdue, false);
  await clock.pass(3_600_000);
  assertEquals([channel.overdue, order, connection.closed, clock.pending], [true, [], 0, 0]);
  channel.message(9, 5, encodeU64(0n));
  assertEquals(channel.overdue, false);
  await clock.pass(10_000);
  assertEquals(channel.overdue, true, "the next one is late as well");
  channel.message(9, 5, encodeU64(1n));
  channel.message(10, 5, encodeU64(0n));
  await Promise.all(done);
  assertEquals([order.sort(), channel.overdue, clock.pending], [["map", "refused", "unmap"], false, 0]);
  const last = channel.unmap(0n, 4096n);
  channel.close();
  await assertRejects(() => last, BackendChannelError, "was closed");
  assertEquals(clock.pending, 0);
});
