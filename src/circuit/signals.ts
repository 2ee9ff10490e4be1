/**
 * Announcing events to a VM's driver, in one place: an event that cannot be queued means that the driver does not read its events,
 * and that is the VM's fault.
 *
 * @module
 */

import { SystemError } from "../errno.ts";
import type { Vm } from "./vm.ts";

/** Told about a VM that broke its device's contract. */
export type FaultHandler = (vm: Vm, reason: string) => void;

/** Sends events to drivers. */
export class Signals {
  constructor(readonly fault: FaultHandler) {}

  /** Announce an event that is made with the VM's next event number; whether that went well. @param reset As {@linkcode Device.announce}. */
  announce(vm: Vm, encode: (token: bigint) => Uint8Array, reset = false): boolean {
    if (vm.state !== "ready") return false;
    try {
      vm.device.announce(encode(vm.nextEvent()), reset);
      return true;
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.fault(vm, error.code === "ENOBUFS" ? "the driver does not read its events" : error.message);
      return false;
    }
  }
}
