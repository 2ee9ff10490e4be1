import { assertEquals } from "@std/assert";
import { QUEUES } from "../../../src/circuit/records.ts";
import { Errno, SystemError } from "../../../src/errno.ts";
import { type FrontEndContext, FrontEndVm, type ServedFrontEnd } from "../../../src/host/front_end_vm.ts";
import { FEATURES, Request } from "../../../src/vhost/protocol.ts";
import { CapturedLog } from "../../support/captured_log.ts";
import { FakeNet, settle } from "../../support/fake_plane.ts";
import { FakeConnection, FakeDescriptor, FakeQueues } from "../../support/fake_vhost.ts";

/** What a front-end is served with, of which a test breaks a part. */
function context(net: FakeNet, change: object): FrontEndContext {
  const nothing = { add: () => {}, remove: () => {}, attach: () => {}, detach: () => {} };
  return {
    operator: net.operator,
    names: nothing,
    enforcer: nothing,
    member: () => {},
    windowBytes: 2 ** 30,
    reserved: undefined,
    live: new Set(),
    clock: net.clock,
    ...change,
  } as unknown as FrontEndContext;
}

/** A connection with a device of its own. */
class Served extends FakeConnection implements ServedFrontEnd {
  handler: ServedFrontEnd["handler"];
  named(): void {}
  readonly device = Object.assign(new FakeQueues(), {
    reply: () => {},
    announce: () => {},
    addRoute: () => {},
    removeRoute: () => Promise.resolve(),
  });
}

const fail = (error: Error) => (): never => {
  throw error;
};

Deno.test("a front-end that cannot be served is turned away, whatever the reason", async () => {
  for (
    const change of [
      { reserved: "nobody" },
      { enforcer: { add: fail(new TypeError("because of the test")), remove: () => {} } },
      { names: { attach: fail(new SystemError("listen", Errno.EMFILE)), detach: () => {} } },
    ]
  ) {
    using net = new FakeNet();
    const given = context(net, change);
    const connection = new Served();
    assertEquals(await FrontEndVm.serve(connection, given), undefined);
    assertEquals([connection.closed > 0, given.live.size], [true, 0]);
    assertEquals([[...net.operator.directory.vms], connection.sent], [[], []]);
  }
});

Deno.test("a front-end waits for a while for the end of the one before it at a VM's own socket", async () => {
  using net = new FakeNet({ vms: [{ name: "web", ipv4: undefined, ipv6: undefined }] });
  const given = context(net, { reserved: "web" });
  const first = (await FrontEndVm.serve(new Served(), given))!;
  const next = new Served();
  const second = FrontEndVm.serve(next, given);
  assertEquals(await FrontEndVm.serve(new Served(), given), undefined, "one waits at a time");
  await net.clock.pass(4999);
  first.end("test");
  const session = (await second)!;
  assertEquals([given.live.size, next.closed], [1, 0]);
  // One that stays is not waited for any longer.
  const late = new Served();
  const third = FrontEndVm.serve(late, given);
  await net.clock.pass(5000);
  assertEquals([await third, late.closed > 0, given.live.size], [undefined, true, 1]);
  session.end("test");
  assertEquals([given.live.size, net.clock.pending], [0, 0]);
});

Deno.test("a front-end whose message is a bug of ours is turned away, since it would wait for its answer for ever", async () => {
  using net = new FakeNet();
  const given = context(net, {});
  const connection = new Served();
  const session = (await FrontEndVm.serve(connection, given))!;
  connection.send = fail(new TypeError("because of the test"));
  session.message(1, 1, new Uint8Array(), []);
  await settle();
  assertEquals([connection.closed > 0, given.live.size], [true, 0]);
  assertEquals([...net.operator.directory.vms], []);
});

Deno.test("a front-end that is too old is told of once, however often its guest starts the device", async () => {
  await using log = await CapturedLog.begin();
  const { lines } = log;
  const count = 100;
  const told = (what: string): number => lines.filter((line) => line.includes(what)).length;
  {
    using net = new FakeNet();
    const session = (await FrontEndVm.serve(new Served(), context(net, {})))!;
    const say = (request: number, values: readonly bigint[] | readonly number[], descriptors = 0): void => {
      const words = typeof values[0] === "bigint"
        ? BigUint64Array.from(values as bigint[])
        : Uint32Array.from(values as number[]);
      const given = Array.from({ length: descriptors }, () => new FakeDescriptor());
      session.message(request, 1, new Uint8Array(words.buffer), given);
    };
    say(Request.SET_PROTOCOL_FEATURES, [1n << 3n]);
    say(Request.SET_FEATURES, [FEATURES]);
    for (let i = 0; i < count; i++) {
      for (let queue = 0; queue < QUEUES; queue++) {
        say(Request.SET_VRING_NUM, [queue, 256]);
        say(Request.SET_VRING_ADDR, [BigInt(queue), 1n, 2n, 3n, 0n]);
        say(Request.SET_VRING_KICK, [BigInt(queue)], 1);
        say(Request.SET_VRING_ENABLE, [queue, 1]);
      }
      for (let queue = 0; queue < QUEUES; queue++) say(Request.GET_VRING_BASE, [queue, 0]);
      for (let turn = 0; turn < 20; turn++) await settle();
    }
    assertEquals([told("QEMU 11.1 or newer is needed"), told("broke its device")], [1, 20]);
    session.end("test");
  }
  assertEquals(told(`${count - 20} more faults of vm1 were left out`), 1);
});
