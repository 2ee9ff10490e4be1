import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Errno, SystemError } from "../../../src/errno.ts";
import { ProtocolError } from "../../../src/vhost/protocol.ts";
import { Vring } from "../../../src/vhost/vring.ts";
import { FakeDescriptor, FakeQueues } from "../../support/fake_vhost.ts";

const addresses = new Uint8Array(new BigUint64Array([0n, 0x1000n, 0x2000n, 0x3000n, 0n]).buffer);

async function ready(): Promise<{ vring: Vring; queues: FakeQueues; kick: FakeDescriptor; call: FakeDescriptor }> {
  const queues = new FakeQueues();
  const vring = new Vring(1, queues);
  const [kick, call] = [new FakeDescriptor(), new FakeDescriptor()];
  vring.setSize(256);
  vring.setBase(5);
  vring.setAddresses(addresses);
  await vring.setCall(call);
  return { vring, queues, kick, call };
}

Deno.test("a vring runs when it has its kick descriptor and is enabled, in either order", async () => {
  for (const kickFirst of [true, false]) {
    const { vring, queues, kick, call } = await ready();
    if (kickFirst) await vring.setKick(kick);
    else await vring.enable(true, 0x123n);
    assertEquals([vring.running, queues.running.size], [false, 0]);
    if (kickFirst) await vring.enable(true, 0x123n);
    else await vring.setKick(kick);
    assertEquals([vring.running, kick.state, call.state], [true, "released", "released"]);
    const { index, size, base, desc, used, avail, features } = queues.running.get(1)!;
    assertEquals([index, size, base, desc, used, avail, features], [1, 256, 5, 0x1000n, 0x2000n, 0x3000n, 0x123n]);
  }
});

Deno.test("stop() keeps the next available index for the next start", async () => {
  const { vring, queues, kick } = await ready();
  await vring.enable(true, 0n);
  await vring.setKick(kick);
  assertEquals([await vring.stop(), vring.running, await vring.stop()], [7, false, 7]);
  await vring.setKick(new FakeDescriptor());
  assertEquals(queues.running.get(1)?.base, 7);
});

Deno.test("SET_VRING_NUM, BASE and ADDR are refused while it runs, and when they are wrong", async () => {
  const { vring, kick } = await ready();
  for (const size of [0, 3, 2048, 0xffffffff]) {
    assertThrows(() => vring.setSize(size), ProtocolError, `size ${size} is not`);
  }
  assertThrows(() => vring.setBase(65536), ProtocolError, "base 65536 is over 65535");
  await vring.enable(true, 0n);
  await vring.setKick(kick);
  assertThrows(() => vring.setSize(256), ProtocolError, "SET_VRING_NUM while it runs");
  assertThrows(() => vring.setBase(0), ProtocolError, "SET_VRING_BASE while it runs");
  assertThrows(() => vring.setAddresses(addresses), ProtocolError, "SET_VRING_ADDR while it runs");
});

Deno.test("a start without size or addresses is refused, and its descriptors are closed at the end", async () => {
  for (const [missing, message] of [["size", "enabled without a size"], ["addresses", "enabled without addresses"]]) {
    const vring = new Vring(0, new FakeQueues());
    if (missing !== "size") vring.setSize(1);
    if (missing !== "addresses") vring.setAddresses(addresses);
    const kick = new FakeDescriptor();
    await vring.setKick(kick);
    await assertRejects(() => vring.enable(true, 0n), ProtocolError, message);
    vring[Symbol.dispose]();
    assertEquals(kick.state, "closed");
  }
});

Deno.test("a descriptor that is replaced is closed; one of a running queue goes to the data plane", async () => {
  const { vring, queues, kick, call } = await ready();
  const second = new FakeDescriptor();
  await vring.setCall(second);
  assertEquals([call.state, second.state], ["closed", "open"]);
  await vring.setKick(kick);
  const errors = [new FakeDescriptor(), new FakeDescriptor()] as const;
  for (const error of errors) vring.setError(error);
  const kick2 = new FakeDescriptor();
  await vring.setKick(kick2);
  assertEquals([kick.state, errors[0].state], ["closed", "closed"]);
  await vring.enable(true, 0n);
  const third = new FakeDescriptor();
  await vring.setCall(third);
  assertEquals([third.state, queues.calls.size], ["released", 1]);
  vring[Symbol.dispose]();
  assertEquals([errors[1].state, queues.running.size, vring.running], ["closed", 0, false]);
});

Deno.test("a start that the data plane refuses leaves the vring at rest", async () => {
  const { vring, queues, kick } = await ready();
  queues.errno = Errno.EFAULT;
  await vring.enable(true, 0n);
  await assertRejects(() => vring.setKick(kick), SystemError, "EFAULT");
  assertEquals([vring.running, kick.state], [false, "released"]);
  vring[Symbol.dispose]();
});
