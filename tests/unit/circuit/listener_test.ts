import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { ConnectAttempt } from "../../../src/circuit/connect.ts";
import { chooseListener, Listener, Listeners } from "../../../src/circuit/listener.ts";
import type { Vm } from "../../../src/circuit/vm.ts";
import { parseAddress } from "../../../src/net/address.ts";
import { property } from "../../support/property.ts";

const vm = {} as Vm;
const at = (address: string, port: number): { address: ReturnType<typeof parseAddress>; port: number } => ({
  address: parseAddress(address),
  port,
});
const listener = (address: string, port = 80, backlog = 1, v6only = false): Listener =>
  new Listener(vm, 1, at(address, port), backlog, v6only);

Deno.test("Listener.score() prefers its own address to any of the family to dual stack", () => {
  const cases = [
    ["10.0.0.1", "10.0.0.1", 3],
    ["0.0.0.0", "10.0.0.1", 2],
    ["::", "10.0.0.1", 1],
    ["10.0.0.2", "10.0.0.1", 0],
    ["fd77::1", "10.0.0.1", 0],
    ["fd77::1", "fd77::1", 3],
    ["::", "fd77::1", 2],
    ["0.0.0.0", "fd77::1", 0],
  ] as const;
  for (const [local, destination, score] of cases) {
    assertEquals([local, destination, listener(local).score(at(destination, 80))], [local, destination, score]);
    assertEquals(listener(local).score(at(destination, 81)), 0);
  }
  assertEquals(listener("::", 80, 1, true).score(at("10.0.0.1", 80)), 0);
  assertEquals(listener("::", 80, 1, true).score(at("fd77::1", 80)), 2);
});

Deno.test("Listener.hasCredit takes one more than the backlog, as Linux does", () => {
  const one = listener("0.0.0.0", 80, 0);
  assert(one.hasCredit);
  one.outstanding = 1;
  assert(!one.hasCredit);
});

Deno.test("chooseListener() agrees with a slow oracle", () => {
  const one = fc.record({
    address: fc.constantFrom("0.0.0.0", "::", "10.0.0.1", "10.0.0.2", "fd77::1"),
    port: fc.constantFrom(80, 81),
    backlog: fc.nat(3),
    v6only: fc.boolean(),
    outstanding: fc.nat(4),
    waiting: fc.nat(3),
  });
  const destination = fc.constantFrom("10.0.0.1", "fd77::1");
  property(fc.property(fc.array(one, { maxLength: 8 }), destination, (specs, address) => {
    const listeners = specs.map((spec) => {
      const made = listener(spec.address, spec.port, spec.backlog, spec.v6only);
      made.outstanding = spec.outstanding;
      for (let i = 0; i < spec.waiting; i++) made.waiting.add({} as ConnectAttempt);
      return made;
    });
    const to = at(address, 80);
    const chosen = chooseListener(listeners, to);
    const fits = listeners.filter((listener) => listener.score(to) > 0);
    const best = fits.filter((listener) => fits.every((other) => other.score(to) <= listener.score(to)));
    if (best.length === 0) return assertEquals(chosen, undefined);
    assert(chosen && best.includes(chosen));
    const withCredit = best.filter((listener) => listener.hasCredit);
    if (withCredit.length > 0) {
      assert(chosen.hasCredit);
      assertEquals(chosen.outstanding, Math.min(...withCredit.map((listener) => listener.outstanding)));
      assertEquals(chosen, withCredit.find((listener) => listener.outstanding === chosen.outstanding), "the first");
    } else assertEquals(chosen.waiting.size, Math.min(...best.map((listener) => listener.waiting.size)));
  }));
});

Deno.test("Listeners.at() agrees with a slow oracle, a list", () => {
  const operation = fc.tuple(fc.boolean(), fc.nat(9), fc.nat(3), fc.constantFrom("tcp" as const, "udp" as const));
  property(fc.property(fc.array(operation), (operations) => {
    const listeners = new Listeners();
    let list: Listener[] = [];
    for (const [add, id, port, protocol] of operations) {
      if (add && !listeners.get(id)) {
        const made = new Listener(vm, id, at("0.0.0.0", port), 1, false, protocol);
        listeners.add(made);
        list.push(made);
      } else if (!add) {
        listeners.delete(id);
        list = list.filter((other) => other.id !== id);
      }
      const there = list.filter((other) => other.local.port === port && other.protocol === protocol);
      assertEquals([...listeners.at(protocol, port)].map(({ id }) => id), there.map(({ id }) => id));
      assertEquals([listeners.size, listeners.get(id)?.id], [list.length, list.find((other) => other.id === id)?.id]);
    }
    listeners.clear();
    assertEquals([listeners.size, [...listeners.at("tcp", 1)]], [0, []]);
  }));
});
