import { assertEquals, assertThrows } from "@std/assert";
import { Admission } from "../../../src/circuit/admission.ts";
import type { Circuit } from "../../../src/circuit/circuit.ts";
import { Flows } from "../../../src/circuit/flows.ts";
import { DEFAULT_LIMITS } from "../../../src/circuit/limits.ts";
import type { Vm } from "../../../src/circuit/vm.ts";
import { SystemError } from "../../../src/errno.ts";
import { type Endpoint, parseAddress } from "../../../src/net/address.ts";
import { FakeHostDatagram, FakeHostStack } from "../../support/fake_host_stack.ts";
import { FakeRecorder } from "../../support/fake_recorder.ts";

const to = (port: number): Endpoint => ({ address: parseAddress("192.0.2.1"), port });

function admission(port: number): Admission {
  const attempt = { protocol: "udp", from: "a", source: to(9), to: "host", destination: to(port) } as const;
  return new Admission(attempt, { allow: true, reason: "test" });
}

function flows(vm: { flows: number }, limits: { maxFlows: number; maxVmFlows: number }): Flows {
  const host = new FakeHostDatagram(new FakeHostStack(), undefined, { source: () => {}, done: () => {} });
  return new Flows({} as Circuit, vm as Vm, host, new FakeRecorder(), { ...DEFAULT_LIMITS, ...limits });
}

Deno.test("Flows.set() refuses more than a circuit, or all of a VM's together, may have, but each circuit's first", () => {
  const vm = { flows: 0 };
  const limits = { maxFlows: 3, maxVmFlows: 4 };
  const add = (own: Flows, port: number): void => own.set(admission(port), to(port), to(port));
  const [a, b, c] = [flows(vm, limits), flows(vm, limits), flows(vm, limits)];
  for (const port of [1, 2, 3, 3]) add(a, port);
  assertEquals([a.full, vm.flows], [true, 3], "what is known takes no more room");
  assertThrows(() => add(a, 4), SystemError, "ENOBUFS");
  add(b, 1);
  assertEquals([b.full, vm.flows], [true, 4]);
  assertThrows(() => add(b, 2), SystemError, "ENOBUFS");
  add(c, 1);
  assertEquals([c.full, vm.flows], [true, 5], "the first of a circuit");
  a.forgetOldest();
  assertEquals([a.full, b.full, vm.flows], [true, true, 4]);
  a.close("closed");
  assertEquals([b.full, vm.flows], [false, 2]);
  add(b, 2);
  for (const own of [a, b, c]) own.close("closed");
  assertEquals(vm.flows, 0, "all is given back, once");
});
