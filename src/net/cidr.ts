/**
 * Ranges of addresses.
 *
 * @module
 */

import ipaddr from "ipaddr.js";
import { type Address, AddressError, parseAddress } from "./address.ts";

type Parsed = ipaddr.IPv4 | ipaddr.IPv6;

/** A CIDR such as `10.0.0.0/8`. */
export class Cidr {
  readonly #base: Parsed;

  private constructor(readonly address: Address, readonly prefix: number) {
    this.#base = ipaddr.fromByteArray([...address.bytes]);
  }

  /** Read one. Bits behind the prefix do not count, as in Kubernetes. @throws {AddressError} */
  static parse(text: string): Cidr {
    const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
    if (!match) throw new AddressError(`"${text}" is not a CIDR such as 10.0.0.0/8 or fd00::/8`);
    const address = parseAddress(match[1]!);
    const bits = address.bytes.length * 8;
    const prefix = Number(match[2]);
    if (prefix > bits || String(prefix) !== match[2]) {
      throw new AddressError(`"${text}": the prefix is a number from 0 to ${bits}`);
    }
    return new Cidr(address, prefix);
  }

  /** Does the address lie in it? An address of the other family never does. */
  contains(address: Address): boolean {
    return address.family === this.address.family &&
      (ipaddr.fromByteArray(address.bytes as unknown as number[]) as ipaddr.IPv4)
        .match(this.#base as ipaddr.IPv4, this.prefix);
  }

  /** Does all of the other lie in it? */
  covers(other: Cidr): boolean {
    return other.prefix >= this.prefix && this.contains(other.address);
  }

  toString(): string {
    return `${this.address.text}/${this.prefix}`;
  }
}
