import { assertEquals } from "@std/assert";
import { addressOf, parseAddress } from "../../../src/net/address.ts";
import { LearnedNames } from "../../../src/policy/learned_names.ts";
import { FakeClock } from "../../support/fake_clock.ts";

function learned(secondsMin?: number): { names: LearnedNames; clock: FakeClock; pass: (ms: number) => Promise<void> } {
  const clock = new FakeClock();
  return { names: new LearnedNames(clock, secondsMin), clock, pass: (ms) => clock.pass(ms) };
}

const [one, two, six] = ["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(parseAddress) as [
  ReturnType<typeof parseAddress>,
  ReturnType<typeof parseAddress>,
  ReturnType<typeof parseAddress>,
];

Deno.test("LearnedNames knows an address's names for as long as they were told to last", async () => {
  const { names, pass } = learned();
  names.learn("api.test", [one, six], 10);
  names.learn("www.test", [one], 20);
  assertEquals([names.of(one), names.of(two), names.of(six)], [["api.test", "www.test"], [], ["api.test"]]);
  await pass(10_000);
  assertEquals(names.of(one), ["api.test", "www.test"]);
  await pass(1);
  assertEquals([names.of(one), names.of(six), names.size], [["www.test"], [], 1]);
  await pass(10_000);
  assertEquals([names.of(one), names.size], [[], 0]);
});

Deno.test("LearnedNames: a later answer prolongs, and never shortens", async () => {
  const { names, pass } = learned();
  names.learn("api.test", [one], 10);
  names.learn("api.test", [one], 1);
  await pass(9000);
  assertEquals(names.of(one), ["api.test"]);
  names.learn("api.test", [two], 10);
  await pass(2000);
  assertEquals([names.of(one), names.of(two)], [[], ["api.test"]]);
});

Deno.test("LearnedNames gives an answer that may not be kept a moment, and none for ever", async () => {
  const { names, pass } = learned();
  names.learn("zero.test", [one], 0);
  names.learn("ever.test", [two], 2 ** 32);
  await pass(1000);
  assertEquals(names.of(one), ["zero.test"]);
  await pass(1);
  assertEquals([names.of(one), names.of(two)], [[], ["ever.test"]]);
  await pass(86_400_000);
  assertEquals(names.of(two), []);
});

Deno.test("LearnedNames is bounded: the oldest go", () => {
  const { names } = learned();
  const address = (n: number): ReturnType<typeof addressOf> => addressOf(Uint8Array.of(10, 0, n >> 8, n & 255));
  for (let n = 0; n < 100; n++) names.learn("many.test", [address(n)], 60);
  assertEquals([names.size, names.of(address(35)), names.of(address(36))], [64, [], ["many.test"]]);
  names.learn("much.test", Array.from({ length: 1000 }, (_, n) => address(1000 + n)), 60);
  assertEquals([names.size, names.of(address(1063)), names.of(address(1064))], [128, ["much.test"], []]);
  for (let n = 0; n < 5000; n++) names.learn(`n${n}.test`, [one], 60);
  assertEquals([names.size, names.of(one).length, names.of(one)[0]], [1, 1024, "n3976.test"]);
});

Deno.test("LearnedNames forgets what nobody asks about, and has no timer when there is nothing", async () => {
  const { names, clock, pass } = learned();
  for (let n = 0; n < 100; n++) names.learn(`n${n}.test`, [one, six], 1 + n);
  assertEquals([names.size, clock.pending], [2, 1]);
  await pass(200_000);
  assertEquals([names.size, clock.pending], [0, 0]);
  names.learn("again.test", [one], 10);
  assertEquals([names.of(one), clock.pending], [["again.test"], 1]);
  names[Symbol.dispose]();
  assertEquals([names.size, clock.pending], [0, 0]);
});

Deno.test("LearnedNames keeps an answer for the shortest time that is configured", async () => {
  const { names, pass } = learned(300);
  names.learn("api.test", [one], 5);
  names.learn("www.test", [two], 400);
  await pass(300_000);
  assertEquals([names.of(one), names.of(two)], [["api.test"], ["www.test"]]);
  await pass(1);
  assertEquals([names.of(one), names.of(two)], [[], ["www.test"]]);
});

Deno.test("LearnedNames: answers without addresses are nothing to remember, however many there are", () => {
  const { names, clock } = learned();
  names.learn("api.test", [one], 60);
  for (let n = 0; n < 3000; n++) names.learn(`${n}.in-addr.arpa`, [], 60);
  assertEquals([names.of(one), names.size, clock.pending], [["api.test"], 1, 1]);
  for (let n = 0; n < 3000; n++) names.learn(`${n}.test`, [two], 60);
  assertEquals([names.of(one), names.of(two).length, names.size], [[], 1024, 1]);
});
