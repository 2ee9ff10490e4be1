import { assertEquals, assertNotEquals } from "@std/assert";
import { Errno } from "../../../src/errno.ts";
import type { Attempt } from "../../../src/circuit/verdict.ts";
import { FakeNet, type FakeVm, settle } from "../../support/fake_plane.ts";

const B = "10.77.0.3";

async function pair(options: ConstructorParameters<typeof FakeNet>[0] = {}): Promise<[FakeNet, FakeVm, FakeVm]> {
  const net = new FakeNet(options);
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80, 80, 1);
  await settle();
  return [net, a, b];
}

Deno.test("a CONNECT is refused for what is wrong with it, by errno", async () => {
  const [net, a] = await pair();
  using _ = net;
  const errno = (address: string, port: number, change?: Parameters<FakeVm["connect"]>[2]): number | undefined =>
    a.errno(a.connect(address, port, change));
  assertEquals(errno(B, 80, { protocol: 1 }), Errno.EOPNOTSUPP);
  assertEquals(errno(B, 0), Errno.EINVAL);
  assertEquals(errno(B, 80, { fromPort: 0 }), Errno.EINVAL);
  assertEquals(errno("0.0.0.0", 80), Errno.EINVAL);
  assertEquals(errno("::", 80), Errno.EINVAL);
  assertEquals(errno("::ffff:0.0.0.0", 80), Errno.EINVAL);
  assertEquals(errno(B, 80, { from: B }), Errno.EADDRNOTAVAIL);
  assertEquals(errno(B, 80, { from: "fd77::2" }), Errno.EADDRNOTAVAIL);
  assertEquals(errno(B, 81), Errno.ECONNREFUSED);
  assertEquals(errno("10.77.0.1", 80), Errno.ECONNREFUSED);
  assertEquals(errno("10.77.0.99", 80), Errno.EHOSTUNREACH);
  assertEquals(errno("192.0.2.1", 80), Errno.ENETUNREACH);
  assertEquals(errno("2001:db8::1", 80), Errno.ENETUNREACH);
  assertEquals(a.holds.attempts.size, 0);
});

Deno.test("a CONNECT tells the source and the extents, whichever way its address was written", async () => {
  const [net, a, b] = await pair();
  using _ = net;
  const tickets = [a.connect(B, 80), a.connect(`::ffff:${B}`, 80, { from: "::ffff:10.77.0.2" })];
  await settle();
  assertEquals(tickets.map((ticket) => a.errno(ticket)), [0, 0]);
  assertEquals(b.incoming.length, 2);
  const [incoming] = b.events.filter(({ type }) => type === 1);
  assertEquals([...new Uint8Array(incoming!.view.buffer, 64 + 8, 4)], [10, 77, 0, 2]);
});

Deno.test("the verdict is asked once per attempt, with what is true", async () => {
  const asked: Attempt[] = [];
  const [net, a] = await pair({
    verdict: (attempt) => {
      asked.push(attempt);
      return { allow: attempt.destination.port === 80, reason: "test" };
    },
  });
  using _ = net;
  const ticket = a.connect(B, 80);
  await settle();
  assertEquals([a.errno(ticket), a.errno(a.connect(B, 22))], [0, Errno.ECONNREFUSED]);
  assertEquals(asked.map(({ from, to, source, destination }) => [from, to, source.address.text, destination.port]), [
    ["vm1", "vm2", "10.77.0.2", 80],
    ["vm1", "vm2", "10.77.0.2", 22],
  ]);
});

Deno.test("a verdict that throws is a denial", async () => {
  const [net, a] = await pair({
    verdict: () => {
      throw new Error("because of the test");
    },
  });
  using _ = net;
  assertEquals(a.errno(a.connect(B, 80)), Errno.ECONNREFUSED);
});

Deno.test("a destination whose driver is not up is EHOSTUNREACH, after the verdict", async () => {
  const [net, a] = await pair({ verdict: ({ to }) => ({ allow: to === "vm3", reason: "test" }) });
  using _ = net;
  net.attach();
  assertEquals(a.errno(a.connect("10.77.0.4", 80)), Errno.EHOSTUNREACH);
});

Deno.test("a full backlog makes attempts wait in order; credit lets in as many as it says", async () => {
  const [net, a, b] = await pair();
  using _ = net;
  const tickets = [1n, 2n, 3n, 4n, 5n].map((token) => a.connect(B, 80, { token }));
  await settle();
  assertEquals(tickets.map((ticket) => a.errno(ticket)), [0, 0, undefined, undefined, undefined]);
  assertEquals([b.credit(80, 3), b.credit(80, 1)], [Errno.EINVAL, 0]);
  await settle();
  assertEquals(tickets.map((ticket) => a.errno(ticket)), [0, 0, 0, undefined, undefined]);
  assertEquals(b.credit(80, 2), 0);
  await settle();
  assertEquals(tickets.map((ticket) => a.errno(ticket)), [0, 0, 0, 0, 0]);
});

Deno.test("a LISTEN that raises the backlog lets in those that wait", async () => {
  const [net, a, b] = await pair();
  using _ = net;
  const tickets = [1n, 2n, 3n, 4n].map((token) => a.connect(B, 80, { token }));
  await settle();
  assertEquals(b.listen(80, 80, 2), 0);
  await settle();
  assertEquals(tickets.map((ticket) => a.errno(ticket)), [0, 0, 0, undefined]);
});

Deno.test("CANCEL answers a waiting attempt with ECANCELED, once", async () => {
  const [net, a] = await pair();
  using _ = net;
  const tickets = [1n, 2n, 3n].map((token) => a.connect(B, 80, { token }));
  await settle();
  assertEquals([a.cancel(3n), a.errno(tickets[2]!), a.cancel(3n)], [0, Errno.ECANCELED, Errno.ENOENT]);
  assertEquals(a.cancel(1n), Errno.ENOENT, "answered already");
});

Deno.test("CANCEL while the arena is opened gives the credit back", async () => {
  const [net, a, b] = await pair();
  using _ = net;
  b.answersArenas = false;
  const ticket = a.connect(B, 80, { token: 1n });
  await settle();
  assertEquals([a.errno(ticket), a.cancel(1n), a.errno(ticket)], [undefined, 0, Errno.ECANCELED]);
  assertEquals([...b.holds.listeners.values()].map(({ outstanding }) => outstanding), [0]);
  assertEquals(a.holds.attempts.size, 0);
});

Deno.test("a listener that goes refuses those that wait, and those whose arena is being opened", async () => {
  const [net, a, b] = await pair();
  using _ = net;
  b.answersArenas = false;
  const tickets = [1n, 2n, 3n].map((token) => a.connect(B, 80, { token }));
  await settle();
  b.unlisten(80);
  assertEquals(a.errno(tickets[2]!), Errno.ECONNREFUSED);
  b.answersArenas = true;
  b.arena(9, 1);
  await settle();
  assertEquals(tickets.map((ticket) => a.errno(ticket)), [Errno.ECONNREFUSED, Errno.ECONNREFUSED, Errno.ECONNREFUSED]);
  assertEquals(b.incoming, []);
});

Deno.test("an attempt that waits too long is ETIMEDOUT", async () => {
  const [net, a] = await pair({ limits: { connectMs: 1 } });
  using _ = net;
  a.connect(B, 80, { token: 1n });
  a.connect(B, 80, { token: 2n });
  await settle();
  const ticket = a.connect(B, 80, { token: 3n });
  await net.clock.pass(1);
  assertEquals(a.errno(ticket), Errno.ETIMEDOUT);
});

Deno.test("limits: attempts, circuits, waiting attempts, tokens that are in use", async () => {
  const [net, a, b] = await pair({ limits: { maxAttempts: 2, maxCircuits: 3, maxBacklog: 1 } });
  using _ = net;
  b.listen(80, 80, 1);
  const [one] = [a.connect(B, 80, { token: 1n }), a.connect(B, 80, { token: 2n })];
  assertEquals(a.errno(a.connect(B, 80, { token: 3n })), Errno.EAGAIN);
  await settle();
  const waiting = a.connect(B, 80, { token: 3n });
  assertEquals([a.errno(one!), a.errno(waiting)], [0, undefined]);
  assertEquals(a.errno(a.connect(B, 80, { token: 3n })), Errno.EEXIST);
  assertEquals(a.errno(a.connect(B, 80, { token: 4n })), Errno.ECONNREFUSED, "one waits already");
  b.credit(80, 1);
  await settle();
  assertEquals(a.errno(waiting), 0);
  b.credit(80, 2);
  assertEquals(a.errno(a.connect(B, 80, { token: 5n })), Errno.ENOBUFS, "three circuits");
});

Deno.test("a VM that goes down ends its attempts and those that wait for it", async () => {
  const [net, a, b] = await pair();
  using _ = net;
  const tickets = [1n, 2n, 3n].map((token) => a.connect(B, 80, { token }));
  await settle();
  b.reset();
  assertEquals(a.errno(tickets[2]!), Errno.ECONNREFUSED);
  b.hello();
  b.listen(80, 80, 0);
  b.answersArenas = false;
  const opening = a.connect(B, 80, { token: 4n });
  const waiting = a.connect(B, 80, { token: 5n });
  await settle();
  a.reset();
  assertEquals([a.errno(opening), a.errno(waiting)], [Errno.ENETDOWN, Errno.ENETDOWN]);
  assertEquals([...b.holds.listeners.values()].map(({ outstanding, waiting }) => [outstanding, waiting.size]), [[
    0,
    0,
  ]]);
});

Deno.test("a VM that connects to itself holds both ends, and the verdict is asked from it to it", async () => {
  const asked: Attempt[] = [];
  const [net, , b] = await pair({
    verdict: (attempt) => {
      asked.push(attempt);
      return { allow: attempt.destination.port === 80, reason: "test" };
    },
  });
  using _ = net;
  const ticket = b.connect(B, 80);
  await settle();
  assertEquals(asked.map(({ from, to }) => [from, to]), [["vm2", "vm2"]]);
  const [here, there] = [b.circuit(ticket), b.incoming[0]!];
  assertNotEquals(here, there);
  assertEquals([b.holds.circuits.size, b.maps.size], [2, 1]);
  assertEquals([b.routes.get(here), b.routes.get(there)], [[b, there], [b, here]]);
  assertEquals([b.close(here), net.operator.circuits.size, b.routes.size], [0, 1, 2], "the other end may still read");
  assertEquals([b.close(there), net.operator.circuits.size, b.routes.size], [0, 0, 0]);
  assertEquals(b.errno(b.connect(B, 81)), Errno.ECONNREFUSED, "denied");
});

Deno.test("a VM that goes down with circuits to itself leaves nothing", async () => {
  const [net, , b] = await pair();
  using _ = net;
  b.connect(B, 80);
  await settle();
  b.bye();
  await settle();
  assertEquals([b.holds.circuits.size, net.operator.circuits.size, b.routes.size, b.resets], [0, 0, 0, []]);
  assertEquals(net.memories.map(({ disposed }) => disposed), [1]);
});

Deno.test("attempts that wait and fail at once, one after the other, are all answered", async () => {
  const net = new FakeNet({ limits: { ringBytes: 16384, maxCircuits: 4, maxAttempts: 10_000 } });
  using _ = net;
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80, 80, 0);
  b.listen(81, 81, 100);
  a.connect(B, 80, { token: 1n });
  await settle();
  const waiting = Array.from({ length: 8000 }, (_, i) => a.connect(B, 80, { token: BigInt(1000 + i) }));
  // The last of its circuits: whoever gets the backlog's credit now fails.
  for (let i = 0; i < 3; i++) a.connect(B, 81, { token: BigInt(10 + i) });
  await settle();
  assertEquals([waiting.some((ticket) => a.errno(ticket) !== undefined), b.credit(80, 1)], [false, 0]);
  assertEquals(new Set(waiting.map((ticket) => a.errno(ticket))), new Set([Errno.ENOBUFS]));
  assertEquals([a.holds.attempts.size, b.holds.listeners.get(80)!.outstanding], [0, 0]);
});

Deno.test("an exception while an attempt is decided costs that attempt alone", async () => {
  const [net, a, b] = await pair();
  using _ = net;
  const tickets = [1n, 2n, 3n, 4n].map((token) => a.connect(B, 80, { token }));
  await settle();
  const announce = b.announce.bind(b);
  b.announce = () => {
    b.announce = announce;
    throw new Error("because of the test");
  };
  assertEquals(b.credit(80, 2), 0);
  assertEquals(tickets.map((ticket) => a.errno(ticket)), [0, 0, Errno.EIO, 0]);
});
