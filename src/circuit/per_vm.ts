/**
 * What a part of the switch keeps of each VM, without the VM knowing of it.
 *
 * @module
 */

import type { Vm } from "./vm.ts";

/** A table for each VM, made when it is first asked for; it goes with the VM. */
export class PerVm<T> {
  readonly #tables = new WeakMap<Vm, T>();

  constructor(readonly make: () => T) {}

  /** The one of a VM. */
  of(vm: Vm): T {
    let table = this.#tables.get(vm);
    if (table === undefined) {
      table = this.make();
      this.#tables.set(vm, table);
    }
    return table;
  }
}
