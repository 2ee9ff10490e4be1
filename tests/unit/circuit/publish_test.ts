import { assert, assertEquals } from "@std/assert";
import type { Publication } from "../../../src/circuit/publish.ts";
import { RequestType } from "../../../src/circuit/records.ts";
import type { VerdictFunction } from "../../../src/circuit/verdict.ts";
import { Errno } from "../../../src/errno.ts";
import { formatEndpoint, parseAddress } from "../../../src/net/address.ts";
import { encodeEndpoint } from "../../support/endpoint.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import type { FakeHostConnection, FakeHostStack } from "../../support/fake_host.ts";
import { FakeNet, type FakeVm, settle } from "../../support/fake_plane.ts";
import { FakeRecorder } from "../../support/fake_recorder.ts";

const HOST = { address: parseAddress("192.0.2.1"), port: 8080 };
const tcp: Publication = { protocol: "tcp", host: HOST, vm: "vm1", port: 80 };
const udp: Publication = { protocol: "udp", host: HOST, vm: "vm1", port: 53 };

interface Started {
  readonly stack: FakeHostStack;
  readonly clock: FakeClock;
  /** A connection comes in. */
  readonly dial: () => FakeHostConnection;
  readonly recorder: FakeRecorder;
  readonly policy: { verdict: VerdictFunction };
  readonly net: FakeNet;
  readonly vm: FakeVm;
}

function start(publish: Publication[], limits: { maxInbound?: number } = {}): Started {
  const clock = new FakeClock();
  const recorder = new FakeRecorder();
  const policy: { verdict: VerdictFunction } = { verdict: () => ({ allow: true, reason: "test" }) };
  const net = new FakeNet({ publish, clock, recorder, verdict: (...asked) => policy.verdict(...asked), limits });
  let port = 30_000;
  const dial = (): FakeHostConnection =>
    net.host.accept(formatEndpoint(HOST), { address: parseAddress("192.0.2.9"), port: port++ });
  return { stack: net.host, clock, recorder, policy, net, dial, vm: net.boot() };
}

/** Listeners and bound datagram sockets. */
const taken = (stack: FakeHostStack): number => stack.held[3]! + stack.held[4]!;

const bindDatagrams = (vm: FakeVm, listener: number): number =>
  vm.ask(RequestType.LISTEN, [
    [16, encodeEndpoint("0.0.0.0", 53)],
    [40, new Uint8Array(Uint32Array.of(listener, 10, 0, 17).buffer)],
  ], 56);

Deno.test("a published port that cannot be bound is failed, and tried again until it can be", async (t) => {
  for (const publication of [tcp, udp]) {
    await t.step(publication.protocol, async () => {
      const { stack, clock, net, vm } = start([publication]);
      using _ = net;
      const state = (): unknown => net.operator.publications.map(({ state, error }) => [state, error]);
      const listen = (): number => publication === tcp ? vm.listen(80) : bindDatagrams(vm, 80);
      assertEquals(state(), [["idle", undefined]]);
      stack.bindErrno = Errno.EADDRNOTAVAIL;
      listen();
      await settle();
      assertEquals(state(), [["failed", "EADDRNOTAVAIL"]]);
      await clock.pass(999);
      assertEquals(stack.binds, 1, "not yet");
      stack.bindErrno = Errno.EADDRINUSE;
      await clock.pass(1000);
      assertEquals([state(), stack.binds], [[["failed", "EADDRINUSE"]], 2]);
      stack.bindErrno = 0;
      await clock.pass(1000);
      assertEquals([state(), clock.pending, taken(stack)], [[["bound", undefined]], 0, 1]);
      assertEquals(net.operator.circuits.size, publication === udp ? 1 : 0, "failed ones have left no circuit behind");
      vm.unlisten(80);
      assertEquals([state(), taken(stack)], [[["idle", undefined]], 0]);

      stack.bindErrno = Errno.EADDRINUSE;
      listen();
      await settle();
      vm.unlisten(80);
      const tries = stack.binds;
      await clock.pass(10_000);
      assertEquals([state(), stack.binds], [[["idle", undefined]], tries], "nobody listens: nothing is tried");
    });
  }
});

Deno.test("a port that is published at an IPv4-mapped address is one at the IPv4 address", async () => {
  const { stack, net, vm, dial } = start([
    { ...tcp, host: { address: parseAddress("::ffff:192.0.2.1"), port: HOST.port } },
  ]);
  using _ = net;
  vm.listen(80);
  await settle();
  assertEquals([...stack.listeners.keys()], [formatEndpoint(HOST)]);
  assertEquals(dial().state, "waiting");
  await settle();
  assertEquals([vm.incoming.length, net.operator.publications[0]!.host], [1, formatEndpoint(HOST)]);
});

Deno.test("a published datagram port whose circuit has ended is bound again while the VM's socket is", async () => {
  const { stack, clock, net, vm } = start([udp]);
  using _ = net;
  bindDatagrams(vm, 1);
  await settle();
  const [circuit] = vm.incoming;
  assertEquals(vm.close(circuit!), 0);
  await settle();
  assertEquals(net.operator.publications[0]!.state, "failed");
  assertEquals(taken(stack), 0);
  await clock.pass(1000);
  assertEquals([net.operator.publications[0]!.state, vm.incoming.length], ["bound", 2]);
});

Deno.test("connections to a published port wait for a full backlog, in order with the attempts of VMs", async () => {
  const { clock, net, vm, recorder, dial } = start([tcp]);
  using _ = net;
  const other = net.boot();
  vm.listen(80, 80, 1);
  await settle();
  const connections = [dial(), dial(), dial()];
  const attempt = other.connect("10.77.0.2", 80);
  connections.push(dial());
  await settle();
  assertEquals(connections.map(({ state }) => state), ["taken", "taken", "waiting", "waiting"]);
  assertEquals([vm.incoming.length, other.errno(attempt)], [2, undefined]);
  vm.credit(80, 1);
  await settle();
  assertEquals([connections[2]!.state, vm.incoming.length, other.errno(attempt)], ["taken", 3, undefined]);
  vm.credit(80, 1);
  await settle();
  assertEquals([connections[3]!.state, vm.incoming.length, other.errno(attempt)], ["waiting", 4, 0], "who came before");
  vm.credit(80, 1);
  await settle();
  assertEquals([connections[3]!.state, vm.incoming.length, clock.pending], ["taken", 5, 0]);
  assertEquals(recorder.lines.filter((line) => line.startsWith("failed")), []);
});

Deno.test("a connection that waits ends with its client, its time, its listener, its VM, and when policy says so", async (t) => {
  const ends: Record<string, (of: Started & { waiting: FakeHostConnection[] }) => void | Promise<void>> = {
    "its client": ({ waiting }) => waiting[0]!.leave(),
    "its time": ({ clock }) => clock.pass(126_500),
    "its listener": ({ vm }) => void vm.unlisten(80),
    "its VM": ({ vm }) => vm.destroy(),
    "policy": ({ policy, net, waiting }) => {
      policy.verdict = ({ source }) => ({ allow: source.port !== waiting[0]!.remote.port, reason: "test" });
      assertEquals(net.operator.revise().cut, 1);
    },
    "the switch": ({ net }) => net[Symbol.dispose](),
  };
  for (const [who, end] of Object.entries(ends)) {
    await t.step(who, async () => {
      const all = start([tcp]);
      const { clock, net, vm, dial } = all;
      vm.listen(80, 80, 0);
      await settle();
      const [first, second] = [dial(), dial()];
      await clock.pass(1_000);
      const third = dial();
      assertEquals([first!.state, second!.state, third.state], ["taken", "waiting", "waiting"]);
      await end({ ...all, waiting: [second!, third] });
      await settle();
      assertEquals(second!.state, "refused");
      const alone = ["its client", "its time", "policy"].includes(who);
      assertEquals(third.state, alone ? "waiting" : "refused");
      if (alone) {
        vm.credit(80, 1);
        await settle();
        assertEquals(third.state, "taken");
      }
      if (who !== "the switch") net[Symbol.dispose]();
    });
  }
});

Deno.test("more connections than may wait are refused at once; those that fail give the backlog's place on", async () => {
  const { net, vm, dial } = start([tcp], { maxInbound: 2 });
  using _ = net;
  vm.listen(80, 80, 0);
  await settle();
  const connections = Array.from({ length: 5 }, () => dial());
  await settle();
  assertEquals(connections.map(({ state }) => state), ["taken", "waiting", "waiting", "refused", "refused"]);
  vm.announceErrno = Errno.ENOBUFS;
  vm.credit(80, 1);
  await settle();
  assertEquals(vm.vm.state, "faulted", "a VM that cannot be told is broken");
  assertEquals(connections[2]!.state, "refused");
  assertEquals(dial().state, "refused");
  assert(net.operator.circuits.size === 0);
});
