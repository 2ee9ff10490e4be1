/**
 * The circuits of VMs' datagram sockets to the host's stack: one for each socket, for all its destinations.
 *
 * @module
 */

import type { Endpoint } from "../net/address.ts";
import type { Circuit, VmEnd } from "./circuit.ts";
import type { Flows } from "./flows.ts";
import { PerVm } from "./per_vm.ts";
import type { Extents } from "./records.ts";
import type { Vm } from "./vm.ts";

/** A datagram circuit to the host's stack. */
export interface OpenedDatagram {
  readonly circuit: Circuit;
  readonly id: number;
  readonly extents: Extents;
  readonly flows: Flows;
}

/** A VM's datagram socket, as keys of {@linkcode DatagramSockets.of} name it. */
export function datagramKey({ address, port }: Endpoint): string {
  return `${address.family}:${port}`;
}

/** Of all VMs. */
export class DatagramSockets {
  readonly #tables = new PerVm(() => new Map<string, OpenedDatagram>());

  /** Those of a VM, by {@linkcode datagramKey}. */
  of(vm: Vm): Map<string, OpenedDatagram> {
    return this.#tables.of(vm);
  }

  /** The socket whose circuit this is, if it is a socket's, takes no further destinations. */
  forget({ vm, id, endpoint }: VmEnd): void {
    const table = this.of(vm);
    const key = datagramKey(endpoint);
    if (table.get(key)?.id === id) table.delete(key);
  }
}
