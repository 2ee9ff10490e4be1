/**
 * The host's ends of circuits: opened in the data plane, from the circuit's place in its arena.
 *
 * @module
 */

import type { Clock } from "../clock.ts";
import type { Endpoint } from "../net/address.ts";
import type { Circuit, HostEnd, VmEnd } from "./circuit.ts";
import { type FlowCount, Flows } from "./flows.ts";
import type { HostCircuitSetup, HostConnection, HostStack } from "./host.ts";
import type { Limits } from "./limits.ts";
import { PerVm } from "./per_vm.ts";
import type { SocketOptions } from "./records.ts";
import type { Recorder } from "./recorder.ts";
import type { Vm } from "./vm.ts";

/** Told when nothing moves any more at a host's end: bytes sent to the guest and received from it, and 0 or what ended it. */
export type HostDone = (circuit: Circuit, vm: Vm, end: HostEnd, sent: bigint, received: bigint, errno: number) => void;

/** Opens the host's ends of circuits. */
export class HostEnds {
  readonly #flows = new WeakMap<Circuit, Flows>();
  readonly #counts = new PerVm<FlowCount>(() => ({ flows: 0 }));

  constructor(
    readonly host: HostStack,
    readonly recorder: Recorder,
    readonly clock: Clock,
    readonly limits: Limits,
    readonly done: HostDone,
  ) {}

  /** Of a stream. @param side The host's. @param connected Told of the outcome: 0 or an errno. */
  stream(
    circuit: Circuit,
    { vm, id }: VmEnd,
    end: HostEnd,
    side: 0 | 1,
    to: Endpoint | HostConnection,
    options: SocketOptions | undefined,
    connected: (errno: number) => void,
  ): void {
    end.host = this.host.open({ ...setupOf(circuit, { vm, id }, side), options }, to, {
      connected,
      done: (...outcome) => this.done(circuit, vm, end, ...outcome),
    });
  }

  /** Of a datagram circuit; its flows. @param opened Told of the outcome. @param source Told of addresses that have no flow. */
  datagram(
    circuit: Circuit,
    { vm, id }: VmEnd,
    end: HostEnd,
    side: 0 | 1,
    bind: Endpoint | undefined,
    opened: (errno: number) => void,
    source: (address: Endpoint) => void,
  ): Flows {
    const host = end.host = this.host.openDatagram(setupOf(circuit, { vm, id }, side), bind, {
      opened,
      source,
      done: (...outcome) => this.done(circuit, vm, end, ...outcome),
    });
    const flows = new Flows(circuit, this.#counts.of(vm), host, this.recorder, this.clock, this.limits);
    this.#flows.set(circuit, flows);
    return flows;
  }

  /** The flows of a datagram circuit; undefined for any other. */
  flowsOf(circuit: Circuit): Flows | undefined {
    return this.#flows.get(circuit);
  }

  /** How many flows a VM has. */
  flowCount(vm: Vm): number {
    return this.#counts.of(vm).flows;
  }
}

function setupOf(circuit: Circuit, { vm, id }: { vm: Vm; id: number }, side: 0 | 1): HostCircuitSetup {
  const extents = circuit.arena.extents(circuit.slot, side, 0);
  return { device: vm.device, id, arena: circuit.arena.host!, extents };
}
