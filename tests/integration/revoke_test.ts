/**
 * Arenas that policy takes away from drivers which take no notice, with a fake front-end that maps for real.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { RequestType } from "../../src/circuit/records.ts";
import type { FakeCircuit } from "../support/fake_circuit.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { startTestSwitch, type TestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

interface Cut {
  readonly net: TestSwitch;
  readonly a: FakeDriver;
  readonly b: FakeDriver;
  readonly here: FakeCircuit;
  readonly there: FakeCircuit;
}

/** A circuit between two VMs, which policy cuts; port 81 stays allowed. */
async function cut(act: (cut: Cut) => Promise<void>): Promise<void> {
  let forbidden = false;
  await using net = await startTestSwitch({
    verdict: ({ destination }) => ({ allow: !forbidden || destination.port !== 80, reason: "test" }),
    limits: { revokeMs: 200, ringBytes: 16 << 10, arenaBytes: 2 << 20 },
  });
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  await b.listen(81);
  const here = await a.mustConnect(b.address, 80);
  const { circuit: there } = await b.accept();
  forbidden = true;
  assertEquals(net.csvn.revise(), { checked: 1, cut: 1 });
  await until("both resets", () => a.resets.has(here.id) && b.resets.has(there.id));
  await act({ net, a, b, here, there });
}

async function works(a: FakeDriver, b: FakeDriver): Promise<void> {
  const here = await a.mustConnect(b.address, 81);
  const { circuit: there } = await b.accept();
  here.write(bytes("hello"));
  here.ring();
  assertEquals(text(await there.readAll(5)), "hello");
  await here.close();
  await there.close();
}

Deno.test("drivers that ignore RESET lose the memory that they share", async () => {
  await cut(async ({ net, a, b, here, there }) => {
    here.write(bytes("secret"));
    assertEquals(text(there.read()), "secret", "they have it still");
    await until("both mappings are gone", () => a.frontEnd.maps.size === 0 && b.frontEnd.maps.size === 0);
    here.write(bytes("another secret"));
    assertEquals(there.rx.some((byte) => byte !== 0), false, "what they read is zeros");
    assert(net.log.some((line) => line.startsWith("arena 1 is taken away from vm1 and vm2")));
    await until("its pages are given back", () => net.csvn.status().arenas[0]!.pages <= 1);
    assertEquals(net.csvn.status().circuits.open, 1, "its ids stay taken");
    await works(a, b);
    assertEquals(net.csvn.status().arenas.length, 2);
    await a[Symbol.asyncDispose]();
    await b[Symbol.asyncDispose]();
    await until("nothing left", () => net.csvn.status().arenas.length === 0);
  });
});

Deno.test("an honest driver that was slow closes at last, and goes on", async () => {
  await cut(async ({ net, a, b, here, there }) => {
    await until("both mappings are gone", () => a.frontEnd.maps.size === 0 && b.frontEnd.maps.size === 0);
    // It finds zeros where cursors were, which is a violation.
    for (const [vm, circuit] of [[a, here], [b, there]] as const) {
      const fields: [number, Uint8Array][] = [[16, new Uint8Array(Uint32Array.of(circuit.id, 1).buffer)]];
      assertEquals((await vm.request(RequestType.CLOSE, fields, 40)).error, 0);
    }
    await until("the arena is retired", () => a.arenas.size === 0 && b.arenas.size === 0);
    await until("nothing left", () => net.csvn.status().arenas.length === 0);
    assertEquals([net.csvn.status().circuits.open, net.csvn.status().plane.routes], [0, 0]);
    assert(!net.log.some((line) => line.includes("broke the ring's rules")), "nobody is blamed");
    await works(a, b);
  });
});

Deno.test("honest drivers close at once, and the arena is gone before anything is forced", async () => {
  await cut(async ({ net, a, b, here, there }) => {
    await here.close();
    await there.close();
    await until("both mappings are gone", () => a.frontEnd.maps.size === 0 && b.frontEnd.maps.size === 0);
    assert(!net.log.some((line) => line.includes("taken away")));
    await works(a, b);
  });
});

Deno.test("BYE without a reset leaves nothing in the window", async () => {
  await using net = await startTestSwitch();
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  await a.mustConnect(b.address, 80);
  assertEquals([(await b.bye()).error, b.frontEnd.maps.size], [0, 0]);
});
