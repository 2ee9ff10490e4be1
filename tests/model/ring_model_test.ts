/**
 * The sleep/wake protocol of lib/include/csvn/ring.h, proved by visiting every state of a model; and the proof that the
 * model would find each of a list of mistakes.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { explore, type Model, type Step, Violation } from "./explorer.ts";
import { type Mutation, RingModel, type RingOptions } from "./ring_model.ts";

const both = ["always", "when not armed"] as const;

function prove(options: RingOptions): void {
  const outcome = explore(new RingModel(options));
  assertEquals([outcome.violation, outcome.trace], [undefined, []]);
}

for (const writer of ["blocks", "polls"] as const) {
  for (const arming of both) {
    const what = `a writer that ${writer}, armed ${arming}`;
    Deno.test(`no wake-up is lost, and no byte: ${what}`, () => {
      for (const size of [2, 3]) prove({ size, bytes: size + 2, writer, arming });
      prove({ size: 2, bytes: 3, writer, arming, spurious: 1 });
    });
    Deno.test(`no wake-up is lost when the reader stops or closes early: ${what}`, () => {
      for (const ends of ["stops", "closes"] as const) prove({ size: 2, bytes: 4, writer, arming, ends });
    });
    Deno.test(`a reset after any byte is seen after all that was sent: ${what}`, () => {
      prove({ size: 2, bytes: 3, writer, arming, resets: true });
    });
  }
}

for (const writer of ["blocks", "polls"] as const) {
  Deno.test(`a program and its kernel take turns at both ends: a writer that ${writer}`, () => {
    prove({ size: 2, bytes: 3, writer, arming: "when not armed", hands: 2 });
    prove({ size: 2, bytes: 2, writer, arming: "always", hands: 2 });
    prove({ size: 2, bytes: 2, writer, arming: "when not armed", hands: 2, ends: "closes" });
  });
}

Deno.test("a ring of four, whose half is two, drained in parts", () => {
  prove({ size: 4, bytes: 5, writer: "polls", arming: "when not armed", ends: "stops" });
});

const LOST_READER = /the reader sleeps, and there is something to read/;
const LOST_WRITER = /the writer sleeps, and half of the ring is free/;

const mutations: Record<Mutation, [RegExp, Partial<RingOptions>?]> = {
  "no fence in arm_rx": [LOST_READER],
  "no fence in arm_tx": [LOST_WRITER],
  "no fence in wants_rx": [LOST_READER],
  "no fence in wants_tx": [LOST_WRITER],
  "no second look before the reader sleeps": [LOST_READER],
  "no second look before the writer sleeps": [LOST_WRITER],
  "tail is loaded before state": [/end after \d of \d bytes/],
  "rings only when more than half is free": [LOST_WRITER, { ends: "stops" }],
  "poll calls one free byte writable": [/the writer polls, and its socket is writable/, {
    size: 4,
    bytes: 5,
    writer: "polls",
    ends: "stops",
  }],
  "marks the sequence as rung when it does not ring": [LOST_WRITER, { size: 4, bytes: 5 }],
  "state changes are not rung": [LOST_READER],
  "no fence in wants_state": [LOST_READER],
  "tail is published before the bytes": [/byte \d reads/],
  "head is released before the bytes are copied": [/byte \d reads/],
  "room is the whole ring's": [/is a lie|byte \d reads/],
  "a delivery wakes before it disarms": [LOST_READER, { arming: "when not armed" }],
  "a delivery never disarms": [LOST_READER, { arming: "when not armed" }],
  "the device forgets a doorbell that comes while it delivers": [LOST_READER],
  "a hand does not take the other's cursor": [/is a lie|byte \d reads/, { bytes: 3, hands: 2 }],
  "a hand takes the cursor, and believes what it saw of the peer's before": [/counts below zero/, {
    bytes: 3,
    hands: 2,
  }],
  "a hand believes that the other has rung": [LOST_READER, { bytes: 3, hands: 2 }],
};

for (const [mutation, [violation, options]] of Object.entries(mutations)) {
  Deno.test(`the model finds the mistake: ${mutation}`, () => {
    const outcome = explore(
      new RingModel({
        size: 2,
        bytes: 4,
        writer: "blocks",
        arming: "always",
        ...options,
        mutation: mutation as Mutation,
      }),
    );
    assertMatch(outcome.violation ?? `none in ${outcome.states} states`, violation);
  });
}

Deno.test("explore() visits every state once and gives the shortest trace to a violation", () => {
  // Two counters up to 3, in any order; never both at 2.
  const model = (forbidden: boolean): Model<[number, number]> => ({
    initial: () => [[0, 0]],
    key: String,
    *steps([a, b]): Iterable<Step<[number, number]>> {
      if (a < 3) yield { label: "a", next: [a + 1, b] };
      if (b < 3) yield { label: "b", next: [a, b + 1] };
    },
    check([a, b]): void {
      if (forbidden && a === 2 && b === 2) throw new Violation("both at 2");
    },
  });
  assertEquals(explore(model(false)), { states: 16, trace: [] });
  const { violation, trace } = explore(model(true));
  assertEquals([violation, trace.length], ["both at 2", 5]);
});
