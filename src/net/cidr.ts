/**
 * Ranges of addresses.
 *
 * @module
 */

import ipaddr from "ipaddr.js";
import { type Address, AddressError, isMapped, parseAddress, unmapped } from "./address.ts";

type Parsed = ipaddr.IPv4 | ipaddr.IPv6;

/** Bits before the IPv4 address in an IPv4-mapped one. */
const MAPPED_BITS = 96;

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

  /**
   * A range of IPv4-mapped addresses as the range of IPv4 that it stands for, since addresses of connections come unmapped; any other as it is.
   *
   * @throws {AddressError} when it is written as one, and holds others too.
   */
  unmapped(): Cidr {
    if (!isMapped(this.address)) return this;
    if (this.prefix >= MAPPED_BITS) return new Cidr(unmapped(this.address), this.prefix - MAPPED_BITS);
    throw new AddressError(
      `"${this}" holds more than IPv4-mapped addresses: write IPv4 as such, for example 10.0.0.0/8`,
    );
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
