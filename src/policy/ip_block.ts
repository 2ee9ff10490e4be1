/**
 * Blocks of addresses in policies: a CIDR with exceptions.
 *
 * @module
 */

import type { Address } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";

/** A CIDR without its exceptions. */
export class IpBlock {
  constructor(readonly cidr: Cidr, readonly except: readonly Cidr[]) {}

  /** Does the address lie in it? */
  contains(address: Address): boolean {
    return this.cidr.contains(address) && !this.except.some((cidr) => cidr.contains(address));
  }

  toString(): string {
    return this.except.length === 0 ? `${this.cidr}` : `${this.cidr} except ${this.except.join(", ")}`;
  }
}
