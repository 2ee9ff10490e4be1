import { assertEquals, assertThrows } from "@std/assert";
import { DirectoryError } from "../../../src/circuit/directory.ts";
import { EventType, Layout, RequestType } from "../../../src/circuit/records.ts";
import { Errno } from "../../../src/errno.ts";
import { Network, parseAddress } from "../../../src/net/address.ts";
import { FakeNet, settle } from "../../support/fake_plane.ts";

Deno.test("HELLO makes a VM ready, and only HELLO does", () => {
  using net = new FakeNet();
  const a = net.attach();
  assertEquals([a.listen(80), a.bye(), a.credit(1, 1), a.vm.state], [
    Errno.EPROTO,
    Errno.EPROTO,
    Errno.EPROTO,
    "attached",
  ]);
  assertEquals([a.hello(0n), a.vm.state, a.listen(80)], [0, "ready", 0]);
});

Deno.test("HELLO tells the limits, what both can do, and who the VM is", () => {
  using net = new FakeNet({ limits: { ringBytes: 65536, maxCircuits: 10, maxListeners: 20 } });
  const a = net.attach();
  const ticket = a.post(RequestType.HELLO, [[16, Uint8Array.of(0xf9, 0xff)]], 56);
  const { view } = a.answers.get(ticket)!;
  assertEquals([32, 36, 40].map((at) => view.getUint32(at, true)), [65536, 10, 20]);
  assertEquals(view.getBigUint64(Layout.hello_response.features, true), 1n);
  const told = new Uint8Array(view.buffer, view.byteOffset + Layout.hello_response.identity, Layout.identity.size);
  assertEquals(told, net.operator.config(a.vm).subarray(Layout.config.identity));
});

Deno.test("a second HELLO is a new driver's: all that an earlier one had is gone", async () => {
  using net = new FakeNet();
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80);
  const ticket = a.connect("10.77.0.3", 80);
  await settle();
  assertEquals([a.errno(ticket), b.holds.circuits.size], [0, 1]);
  assertEquals([b.hello(), b.holds.listeners.size, b.holds.circuits.size, b.holds.arenas.size], [0, 0, 0, 0]);
  assertEquals(a.resets, [[a.circuit(ticket), Errno.ECONNRESET]]);
});

Deno.test("BYE ends all that the VM held", async () => {
  using net = new FakeNet();
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80);
  const ticket = a.connect("10.77.0.3", 80);
  assertEquals(b.bye(), 0);
  assertEquals([b.vm.state, b.holds.listeners.size, b.holds.arenas.size, b.holds.circuits.size], ["attached", 0, 0, 0]);
  assertEquals(b.listen(80), Errno.EPROTO);
  await settle();
  assertEquals([a.errno(ticket), a.holds.attempts.size], [Errno.ECONNREFUSED, 0]);
});

Deno.test("LISTEN: what is wrong, what is too many, and a second one with the same id", () => {
  using net = new FakeNet({ limits: { maxListeners: 2, maxBacklog: 10 } });
  const a = net.boot();
  assertEquals(a.listen(80, 1, 5), 0);
  assertEquals(a.listen(0, 2), Errno.EINVAL);
  assertEquals(a.listen(80, 2, 5, "10.77.0.3"), Errno.EADDRNOTAVAIL);
  assertEquals(a.listen(80, 2, 5, "fd77::3"), Errno.EADDRNOTAVAIL);
  assertEquals(a.listen(80, 2, 5, "fd77::2"), 0);
  assertEquals(a.listen(81, 3), Errno.ENOBUFS);
  assertEquals(a.listen(80, 1, 1_000_000), 0, "the backlog alone");
  assertEquals(a.holds.listeners.get(1)?.backlog, 10);
  assertEquals([a.unlisten(1), a.unlisten(1), a.listen(81, 3)], [0, Errno.ENOENT, 0]);
});

Deno.test("control() answers records that cannot be decoded, by errno", () => {
  using net = new FakeNet();
  const a = net.boot();
  assertEquals(a.ask(99, [], 16), Errno.EOPNOTSUPP);
  assertEquals(a.ask(RequestType.LISTEN, [], 55), Errno.EINVAL);
  assertEquals(a.ask(RequestType.LISTEN, [[16, Uint8Array.of(9)]], 56), Errno.EAFNOSUPPORT);
  assertEquals(a.ask(0, [], 0), Errno.EINVAL);
});

Deno.test("control() answers EMSGSIZE where the response does not fit", () => {
  using net = new FakeNet();
  const [a, b] = [net.attach(), net.boot()];
  assertEquals(a.errno(a.post(RequestType.HELLO, [], 56, 1n, Layout.hello_response.size - 1)), Errno.EMSGSIZE);
  assertEquals(a.errno(a.post(RequestType.HELLO, [], 56, 1n, Layout.hello_response.size)), 0);
  b.listen(80);
  assertEquals(a.errno(a.connect("10.77.0.3", 80, { room: 95 })), Errno.EMSGSIZE);
});

Deno.test("CANCEL, CLOSE and the answers about arenas are ENOENT where there is nothing", () => {
  using net = new FakeNet();
  const a = net.boot();
  assertEquals([a.cancel(1n), a.close(1), a.unlisten(1), a.credit(1, 1)], Array(4).fill(Errno.ENOENT));
  for (const type of [RequestType.ARENA_PREPARED, RequestType.ARENA_VISIBLE, RequestType.ARENA_RETIRED]) {
    assertEquals(a.arena(type, 1), Errno.ENOENT);
  }
});

Deno.test("attach() names VMs, and turns away one whose socket is taken", () => {
  using net = new FakeNet({ vms: [{ name: "web", ipv4: parseAddress("10.77.0.9"), ipv6: undefined }] });
  const web = net.attach("web");
  assertEquals([web.name, web.vm.identity.ipv4.text, net.attach().name], ["web", "10.77.0.9", "vm1"]);
  assertThrows(() => net.attach("web"), DirectoryError, "VM web is connected already");
  web.destroy();
  assertEquals([web.vm.state, net.attach("web").name], ["gone", "web"]);
});

Deno.test("attach() turns a VM away when there is no address", () => {
  using net = new FakeNet({ network4: Network.parse("10.0.0.0/30") });
  net.attach();
  assertThrows(() => net.attach(), DirectoryError, "no address is free");
});

Deno.test("fault() makes a VM be ignored until its device starts anew", () => {
  using net = new FakeNet();
  const a = net.boot();
  a.listen(80);
  net.operator.queueFault(a.vm, 2, "because of the test");
  assertEquals([a.vm.state, a.holds.listeners.size, a.listen(80), a.hello()], [
    "faulted",
    0,
    Errno.EPROTO,
    Errno.EPROTO,
  ]);
  a.reset();
  assertEquals([a.vm.state, a.hello()], ["attached", 0]);
});

Deno.test("a queue's fault that is told after the device stopped does not outlast its next start", () => {
  using net = new FakeNet();
  const a = net.boot();
  a.reset();
  net.operator.queueFault(a.vm, 3, "told late");
  assertEquals([a.vm.state, a.hello()], ["faulted", Errno.EPROTO]);
  a.start();
  assertEquals([a.vm.state, a.hello()], ["attached", 0]);
  a.start();
  assertEquals(a.vm.state, "ready");
});

Deno.test("a driver that does not read its events is at fault", async () => {
  using net = new FakeNet();
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80);
  b.announceErrno = Errno.ENOBUFS;
  const ticket = a.connect("10.77.0.3", 80);
  await settle();
  assertEquals([b.vm.state, a.errno(ticket) !== 0, net.operator.circuits.size], ["faulted", true, 0]);
});

Deno.test("events are numbered from 0 in each incarnation", async () => {
  using net = new FakeNet();
  const [a, b] = [net.boot(), net.boot()];
  for (let round = 0; round < 2; round++) {
    b.listen(80);
    b.events.length = 0;
    a.connect("10.77.0.3", 80);
    a.connect("10.77.0.3", 80, { fromPort: 40_001 });
    await settle();
    assertEquals(b.events.map(({ token }) => token), b.events.map((_, i) => BigInt(i)));
    assertEquals(b.of(EventType.INCOMING).length, 2);
    b.bye();
    await settle();
    b.hello();
  }
});

Deno.test("disposing the operator gives everything back", async () => {
  const net = new FakeNet();
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80);
  a.connect("10.77.0.3", 80);
  await settle();
  net[Symbol.dispose]();
  assertEquals(net.memories.map(({ disposed }) => disposed), [1]);
  assertEquals([net.operator.circuits.size, a.routes.size, [...net.operator.directory.vms].length], [0, 0, 0]);
});
