import { assertEquals } from "@std/assert";
import type { Attempt, Verdict, VerdictFunction } from "../../../src/circuit/verdict.ts";
import { Errno } from "../../../src/errno.ts";
import { FakeNet, type FakeVm, settle } from "../../support/fake_plane.ts";
import { FakeRecorder } from "../../support/fake_recorder.ts";

const B = "10.77.0.3";

/** Two VMs under a policy that can change. */
function pair(options: ConstructorParameters<typeof FakeNet>[0] = {}): {
  net: FakeNet;
  a: FakeVm;
  b: FakeVm;
  policy: { verdict: VerdictFunction };
  lines: string[];
} {
  const policy: { verdict: VerdictFunction } = { verdict: () => ({ allow: true, reason: "first", revision: "1" }) };
  const recorder = new FakeRecorder();
  const verdict: VerdictFunction = (attempt, before) => policy.verdict(attempt, before);
  const net = new FakeNet({ verdict, recorder, ...options });
  const [a, b] = [net.boot(), net.boot()];
  b.listen(80, 80, 1);
  b.listen(81);
  return { net, a, b, policy, lines: recorder.lines };
}

const only = (port: number, onDeny: Verdict["onDeny"] = "refuse"): VerdictFunction => ({ destination }) =>
  destination.port === port
    ? { allow: true, reason: "still", revision: "2" }
    : { allow: false, reason: "no more", revision: "2", onDeny };

Deno.test("revise() cuts what is not allowed any more at both ends, once; the rest notices nothing", async () => {
  const { net, a, b, policy, lines } = pair();
  using _ = net;
  const tickets = [a.connect(B, 80), a.connect(B, 81)];
  await settle();
  const [cut, kept] = tickets.map((ticket) => a.circuit(ticket));
  assertEquals(net.operator.revise(), { checked: 2, cut: 0 });
  policy.verdict = only(81);
  const would = net.operator.forbidden(policy.verdict);
  assertEquals(would.map(({ circuit, from, to, destination, reason }) => [circuit, from, to, destination, reason]), [
    [1, "vm1", "vm2", `${B}:80`, "no more"],
  ]);
  assertEquals([a.resets, b.resets, a.routes.size], [[], [], 2], "asking changes nothing");
  assertEquals(net.operator.revise(), { checked: 2, cut: 1 });
  assertEquals([a.resets, b.resets], [[[cut!, Errno.ECONNRESET]], [[b.incoming[0]!, Errno.ECONNRESET]]]);
  assertEquals([...a.routes.keys()], [kept], "no doorbell passes");
  assertEquals([net.operator.revise(), net.operator.forbidden(policy.verdict)], [{ checked: 1, cut: 0 }, []]);
  assertEquals([a.resets.length, b.resets.length, a.holds.circuits.size], [1, 1, 2], "its id stays taken");
  assertEquals([a.close(cut!, 1), b.close(b.incoming[0]!, 1)], [0, 0]);
  assertEquals([a.close(kept!), b.close(b.incoming[1]!)], [0, 0]);
  assertEquals(lines, [
    "opened vm1 -> vm2:80 1",
    "opened vm1 -> vm2:81 2",
    "closed vm1 -> vm2:80 1 policy",
    "closed vm1 -> vm2:81 2 closed",
  ]);
});

Deno.test("revise() refuses attempts that wait for a backlog, as policy wishes", async () => {
  for (
    const [onDeny, errno] of [
      ["refuse", Errno.ECONNREFUSED],
      ["unreachable", Errno.EHOSTUNREACH],
      ["prohibit", Errno.EACCES],
      ["drop", undefined],
    ] as const
  ) {
    const { net, a, b, policy, lines } = pair();
    using _ = net;
    const tickets = [1n, 2n, 3n].map((token) => a.connect(B, 80, { token }));
    await settle();
    assertEquals(a.errno(tickets[2]!), undefined, "it waits");
    policy.verdict = only(81, onDeny);
    assertEquals(net.operator.revise(), { checked: 3, cut: 3 });
    assertEquals([a.errno(tickets[2]!), b.credit(80, 2)], [errno, 0]);
    await settle();
    assertEquals([a.errno(tickets[2]!), b.incoming.length], [errno, 2], "credit lets nobody in");
    assertEquals(lines.at(-1), `denied vm1 -> vm2:80 ${errno ?? 0}`);
    if (onDeny === "drop") assertEquals([a.cancel(3n), a.errno(tickets[2]!)], [0, Errno.ECANCELED]);
    assertEquals(a.holds.attempts.size, 0);
  }
});

Deno.test("revise() refuses attempts whose arena is being opened, and gives their credit back", async () => {
  for (const onDeny of ["refuse", "drop"] as const) {
    const { net, a, b, policy } = pair({ limits: { connectMs: 20 } });
    using _ = net;
    b.answersArenas = false;
    const ticket = a.connect(B, 80);
    await settle();
    policy.verdict = only(81, onDeny);
    assertEquals(net.operator.revise(), { checked: 1, cut: 1 });
    b.answersArenas = true;
    b.arena(9, 1);
    await settle();
    assertEquals(a.errno(ticket), onDeny === "drop" ? undefined : Errno.ECONNREFUSED);
    assertEquals([b.incoming, b.holds.listeners.get(80)!.outstanding, net.operator.circuits.size], [[], 0, 0]);
    await net.clock.pass(20);
    assertEquals(a.errno(ticket), onDeny === "drop" ? Errno.ETIMEDOUT : Errno.ECONNREFUSED);
  }
});

Deno.test("revise() lets nobody in whom it has not asked about yet", async () => {
  const { net, a, b, policy } = pair();
  using _ = net;
  const c = net.boot();
  c.connect(B, 81);
  await settle();
  // Two of a's hold credit and have no arena yet; c's has an arena and waits for credit.
  b.answersArenas = false;
  const tickets = [1n, 2n].map((token) => a.connect(B, 80, { token }));
  const waits = c.connect(B, 80);
  await settle();
  policy.verdict = only(81);
  assertEquals(net.operator.revise(), { checked: 4, cut: 3 });
  assertEquals([...tickets.map((ticket) => a.errno(ticket)), c.errno(waits)], Array(3).fill(Errno.ECONNREFUSED));
  assertEquals([b.incoming.length, b.holds.listeners.get(80)!.outstanding, net.operator.circuits.total], [1, 0, 1]);
});

Deno.test("an attempt that is dropped counts among its VM's attempts, and ends with time, with CANCEL, or with the VM", async () => {
  const { net, a, policy, lines } = pair({ limits: { connectMs: 20, maxAttempts: 2 } });
  using _ = net;
  policy.verdict = only(81, "drop");
  const tickets = [1n, 2n, 3n].map((token) => a.connect(B, 80, { token }));
  assertEquals(tickets.map((ticket) => a.errno(ticket)), [undefined, undefined, Errno.EAGAIN]);
  assertEquals([a.cancel(1n), a.errno(tickets[0]!)], [0, Errno.ECANCELED]);
  await net.clock.pass(20);
  assertEquals([a.errno(tickets[1]!), a.holds.attempts.size], [Errno.ETIMEDOUT, 0]);
  const last = a.connect(B, 80, { token: 4n });
  assertEquals(net.operator.revise(), { checked: 0, cut: 0 }, "it is denied already");
  a.reset();
  assertEquals([a.errno(last), a.holds.attempts.size], [Errno.ENETDOWN, 0]);
  assertEquals(lines, Array(3).fill("denied vm1 -> vm2:80 0"), "none of them failed, they were denied");
});

Deno.test("a verdict function that throws when policy changes cuts", async () => {
  const { net, a, policy, lines } = pair();
  using _ = net;
  a.connect(B, 80);
  await settle();
  policy.verdict = () => {
    throw new Error("because of the test");
  };
  assertEquals([net.operator.revise(), a.resets.length], [{ checked: 1, cut: 1 }, 1]);
  a.destroy();
  assertEquals(lines.at(-1), "opened vm1 -> vm2:80 1", "vm2 has not closed");
});

Deno.test("a driver that does not take its resets is at fault, and the others are cut all the same", async () => {
  const { net, a, b, policy } = pair();
  using _ = net;
  a.connect(B, 80);
  a.connect(B, 81);
  await settle();
  policy.verdict = only(443);
  a.announceErrno = Errno.ENOBUFS;
  net.operator.revise();
  assertEquals([a.vm.state, b.resets.length, net.operator.circuits.size], ["faulted", 2, 2]);
});

Deno.test("revise() counts no circuit that another one's cut has ended", async () => {
  const { net, a, b, policy } = pair();
  using _ = net;
  a.connect(B, 81);
  a.connect(B, 81, { fromPort: 40_001 });
  await settle();
  // One end is closed already: with the VM's fault, at the first cut, the second one is over.
  b.close(b.incoming[1]!);
  policy.verdict = only(443);
  a.announceErrno = Errno.ENOBUFS;
  assertEquals([net.operator.revise(), a.vm.state], [{ checked: 1, cut: 1 }, "faulted"]);
});

Deno.test("a recorder that throws stops nothing", async () => {
  const { net, a, policy } = pair({
    recorder: new Proxy(new FakeRecorder(), {
      get: () => () => {
        throw new Error("because of the test");
      },
    }),
  });
  using _ = net;
  const ticket = a.connect(B, 80);
  await settle();
  policy.verdict = only(81);
  assertEquals([a.errno(ticket), a.errno(a.connect(B, 80)), a.errno(a.connect(B, 82))], [
    0,
    Errno.ECONNREFUSED,
    Errno.ECONNREFUSED,
  ]);
  net.operator.revise();
  assertEquals(a.resets.length, 1);
});

Deno.test("what was allowed and came to nothing is told", async () => {
  const { net, a, b, lines } = pair();
  using _ = net;
  a.connect(B, 99);
  a.connect("192.0.2.1", 80);
  b.bye();
  a.connect(B, 80);
  await settle();
  assertEquals(lines, [
    `failed vm1 -> vm2:99 ${Errno.ECONNREFUSED}`,
    `denied vm1 -> host:80 ${Errno.ENETUNREACH}`,
    `failed vm1 -> vm2:80 ${Errno.EHOSTUNREACH}`,
  ]);
});

Deno.test("why a circuit ended is told", async () => {
  const { net, a, b, lines } = pair();
  using _ = net;
  a.connect(B, 81);
  const second = a.connect(B, 81, { fromPort: 40_001 });
  a.connect(B, 81, { fromPort: 40_002 });
  await settle();
  a.close(a.circuit(second), 1);
  b.close(b.incoming[1]!);
  b.destroy();
  a.destroy();
  assertEquals(lines.filter((line) => line.startsWith("closed")).sort(), [
    "closed vm1 -> vm2:81 1 gone",
    "closed vm1 -> vm2:81 2 violation",
    "closed vm1 -> vm2:81 3 gone",
  ]);
});

Deno.test("revise() cuts 10,000 circuits at once", async () => {
  const asked: Attempt[] = [];
  const { net, a, b, policy } = pair({ limits: { ringBytes: 16 << 10, arenaBytes: 2 ** 30, maxAttempts: 20_000 } });
  using _ = net;
  b.listen(82, 82, 20_000);
  for (let i = 0; i < 10_000; i++) a.connect(B, 82, { token: BigInt(100 + i), fromPort: 1 + i });
  await settle();
  assertEquals(net.operator.circuits.size, 10_000);
  policy.verdict = (attempt) => {
    asked.push(attempt);
    return { allow: attempt.destination.port !== 82, reason: "test" };
  };
  assertEquals(net.operator.revise(), { checked: 10_000, cut: 10_000 });
  assertEquals([asked.length, a.resets.length, b.resets.length], [10_000, 10_000, 10_000]);
});
