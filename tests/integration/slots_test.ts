/**
 * What a circuit finds in its memory: zeros, whatever the last one there has left, and however its pages were treated since.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { FakeCircuit } from "../support/fake_circuit.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { startTestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const limits = { ringBytes: 16 << 10, arenaBytes: 2 << 20, arenaMaxBytes: 2 << 20, warmSlots: 3, warmMs: 20 };
/** Slots in an arena of that size. */
const SLOTS = 51;

/** A circuit's memory, as both of its ends see it. */
function parts({ own, peer, tx, rx }: FakeCircuit): Uint8Array[] {
  return [new Uint8Array(own.buffer), new Uint8Array(peer.buffer), tx, rx];
}

/** Write bytes all over an end's memory, published or not; in the ring so many. */
function stain({ own, tx }: FakeCircuit, bytes: number): void {
  new Uint8Array(own.buffer, 64).fill(0xaa);
  tx.fill(0xaa, 0, bytes);
}

async function connect(a: FakeDriver, b: FakeDriver): Promise<[FakeCircuit, FakeCircuit]> {
  const here = await a.mustConnect(b.address, 80);
  return [here, (await b.accept()).circuit];
}

Deno.test("a circuit finds zeros where others have written, with warm slots, without, and when all are in use", async () => {
  await using net = await startTestSwitch({ limits });
  await using a = await FakeDriver.boot(net.socket);
  await using b = await FakeDriver.boot(net.socket);
  await b.listen(80);
  const places = new Set<number>();
  let again = 0;
  // Few, so that they are zeroed in place; more than are kept; all, so that those that wait are needed.
  for (const count of [1, 2, 1, 10, 10, SLOTS, SLOTS, 3]) {
    const circuits: [FakeCircuit, FakeCircuit][] = [];
    for (let i = 0; i < count; i++) circuits.push(await connect(a, b));
    for (const ends of circuits) {
      for (const end of ends) {
        for (const part of parts(end)) assert(part.every((byte) => byte === 0), "another's bytes");
      }
      const [{ at }] = ends;
      if (places.has(at.own)) again++;
      places.add(at.own);
    }
    circuits.forEach((ends, i) => ends.forEach((end) => stain(end, i % 3 === 0 ? end.ringBytes : 1)));
    for (const ends of circuits) {
      for (const end of ends) assertEquals(await end.close(), 0);
    }
  }
  assert(again > 60 && places.size <= SLOTS, `${again} of ${places.size} places were used again`);
  assertEquals(net.csvn.status().arenas.length, 1);
  await until("all pages are given back", () => net.csvn.status().arenas[0]!.pages <= 1);
});
