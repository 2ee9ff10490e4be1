import { assertEquals } from "@std/assert";
import { Errno, SystemError } from "../../../src/errno.ts";
import { type FrontEndContext, FrontEndVm } from "../../../src/host/front_end_vm.ts";
import { FakeNet } from "../../support/fake_plane.ts";
import { FakeConnection, FakeQueues } from "../../support/fake_vhost.ts";

/** What a front-end is served with, of which a test breaks a part. */
function context(net: FakeNet, change: object): FrontEndContext & { readonly open: Set<unknown> } {
  const open = new Set<unknown>();
  const openDevice = (): unknown => {
    const device = Object.assign(new FakeQueues(), {
      reply: () => {},
      announce: () => {},
      addRoute: () => {},
      removeRoute: () => {},
      [Symbol.dispose]: () => void open.delete(device),
    });
    open.add(device);
    return device;
  };
  const nothing = { add: () => {}, remove: () => {}, attach: () => {}, detach: () => {} };
  return {
    plane: { openDevice },
    operator: net.operator,
    names: nothing,
    enforcer: nothing,
    member: () => {},
    windowBytes: 2 ** 30,
    reserved: undefined,
    live: new Set(),
    open,
    ...change,
  } as unknown as FrontEndContext & { readonly open: Set<unknown> };
}

const fail = (error: Error) => (): never => {
  throw error;
};

Deno.test("a front-end that cannot be served is turned away, whatever the reason", () => {
  for (
    const change of [
      { reserved: "nobody" },
      { plane: { openDevice: fail(new SystemError("open a device", Errno.EMFILE)) } },
      { plane: { openDevice: fail(new TypeError("because of the test")) } },
      { enforcer: { add: fail(new TypeError("because of the test")), remove: () => {} } },
      { names: { attach: fail(new SystemError("listen", Errno.EMFILE)), detach: () => {} } },
    ]
  ) {
    using net = new FakeNet();
    const given = context(net, change);
    const connection = new FakeConnection();
    assertEquals(FrontEndVm.serve(connection, given), undefined);
    assertEquals([connection.closed > 0, given.live.size, given.open.size], [true, 0, 0]);
    assertEquals([[...net.operator.directory.vms], connection.sent], [[], []]);
  }
});

Deno.test("a front-end whose message is a bug of ours is turned away, since it would wait for its answer for ever", () => {
  using net = new FakeNet();
  const given = context(net, {});
  const connection = new FakeConnection();
  const session = FrontEndVm.serve(connection, given)!;
  connection.send = fail(new TypeError("because of the test"));
  session.message(1, 1, new Uint8Array(), []);
  assertEquals([connection.closed > 0, given.live.size, given.open.size], [true, 0, 0]);
  assertEquals([...net.operator.directory.vms], []);
});
