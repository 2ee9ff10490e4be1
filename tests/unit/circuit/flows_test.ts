import { assertEquals } from "@std/assert";
import { Errno } from "../../../src/errno.ts";
import { FakeNet, type FakeVm, settle } from "../../support/fake_plane.ts";

const UDP = 17;

function socket(maxFlows: number): { net: FakeNet; a: FakeVm; send: (n: number) => Promise<number> } {
  const net = new FakeNet({ outside: true, limits: { maxFlows } });
  const a = net.boot();
  let token = 1n;
  const send = async (n: number): Promise<number> => {
    const ticket = a.connect(`192.0.2.${n}`, 53, { protocol: UDP, fromPort: 4000, token: token++ });
    await settle();
    return a.errno(ticket)!;
  };
  return { net, a, send };
}

Deno.test("a socket that talks to ever more addresses forgets one on which nothing has passed", async () => {
  const { net, a, send } = socket(3);
  using _ = net;
  for (const n of [1, 2, 3]) assertEquals(await send(n), 0);
  const [host] = net.host.datagrams.values();
  const known = (): string[] => [...host!.permits.keys()].map((key) => key.split(":")[0]!.split(".")[3]!);
  assertEquals([a.holds.circuits.size, known()], [1, ["1", "2", "3"]]);
  for (const n of [1, 3]) host!.moved.set(`192.0.2.${n}:53`, 10n);
  assertEquals([await send(4), known()], [0, ["1", "3", "4"]], "the second was idle");
  assertEquals([await send(5), known()], [0, ["3", "4", "5"]], "the first has been since");
  for (const n of [3, 4, 5]) host!.moved.set(`192.0.2.${n}:53`, 10n);
  assertEquals([await send(6), known().length], [0, 3], "all were busy: one goes all the same");
  assertEquals(await send(6), 0, "one that is known needs no room");
  assertEquals(known().length, 3);
});

Deno.test("a rule that cannot be made ends its circuit, and the guest is told", async () => {
  const { net, a, send } = socket(10);
  using _ = net;
  assertEquals(await send(1), 0);
  const [opened] = a.holds.hostDatagrams.values();
  net.host.permitErrno = Errno.ENOMEM;
  assertEquals([await send(2), a.resets], [0, [[opened!.id, Errno.ENOMEM]]]);
  assertEquals([a.holds.hostDatagrams.size, a.close(opened!.id), net.operator.circuits.size], [0, 0, 0]);
});

Deno.test("a circuit that cannot be opened fails all that wait for it, and leaves nothing", async () => {
  const { net, a, send } = socket(10);
  using _ = net;
  assertEquals(await send(3), 0);
  net.host.errno = Errno.EMFILE;
  const others = [4, 5].map((n) =>
    a.connect(`192.0.2.${n}`, 53, { protocol: UDP, fromPort: 4001, token: 100n + BigInt(n) })
  );
  await settle();
  assertEquals(others.map((ticket) => a.errno(ticket)), Array(2).fill(Errno.EMFILE));
  assertEquals([a.holds.circuits.size, a.holds.hostDatagrams.size], [1, 1]);
});

Deno.test("a circuit that nobody waits for any more when it is opened is given up", async () => {
  const { net, a, send } = socket(10);
  using _ = net;
  assertEquals(await send(1), 0);
  net.acknowledgements.held = true;
  const ticket = a.connect("192.0.2.2", 53, { protocol: UDP, fromPort: 4001, token: 200n });
  await settle();
  assertEquals([a.cancel(200n), a.errno(ticket)], [0, Errno.ECANCELED]);
  net.acknowledgements.held = false;
  net.acknowledgements.release();
  await settle();
  net.acknowledgements.release();
  await settle();
  assertEquals([a.holds.circuits.size, a.holds.hostDatagrams.size, net.host.datagrams.size, a.resets], [1, 1, 1, []]);
});

Deno.test("a VM's sockets share out how many addresses they talk to, and each has its first", async () => {
  using net = new FakeNet({ outside: true, limits: { maxFlows: 3, maxVmFlows: 4 } });
  const a = net.boot();
  let token = 1n;
  const send = async (fromPort: number, n: number): Promise<number> => {
    const ticket = a.connect(`192.0.2.${n}`, 53, { protocol: UDP, fromPort, token: token++ });
    await settle();
    return a.errno(ticket)!;
  };
  const sizes = (): number[] => [...a.holds.hostDatagrams.values()].map(({ flows }) => flows.size);
  for (const n of [1, 2, 3, 3]) assertEquals(await send(1000, n), 0);
  assertEquals([sizes(), a.holds.flows], [[3], 3], "what is known takes no more room");
  assertEquals([await send(1001, 1), sizes(), a.holds.flows], [0, [3, 1], 4]);
  assertEquals([await send(1001, 2), sizes(), a.holds.flows], [0, [3, 1], 4], "it has given its own up");
  assertEquals([await send(1002, 1), sizes(), a.holds.flows], [0, [3, 1, 1], 5], "the first of a socket");
  for (const { id } of [...a.holds.hostDatagrams.values()]) a.close(id);
  await settle();
  assertEquals(a.holds.flows, 0, "all is given back, once");
});
