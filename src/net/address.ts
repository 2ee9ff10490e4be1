/**
 * IP addresses, endpoints and the switch's networks.
 *
 * @module
 */

import ipaddr from "ipaddr.js";

/** An IPv4 or IPv6 address. Equal addresses have equal `text`. */
export interface Address {
  readonly family: 4 | 6;
  /** 4 or 16 bytes, network order; not to be changed. */
  readonly bytes: Uint8Array;
  /** Canonical text. */
  readonly text: string;
}

/** An address and a port. */
export interface Endpoint {
  readonly address: Address;
  /** 0 to 65535. */
  readonly port: number;
}

/** An address is wrong; the message says which and why. */
export class AddressError extends Error {
  override readonly name = "AddressError";
}

function fromLibrary(parsed: ipaddr.IPv4 | ipaddr.IPv6): Address {
  return {
    family: parsed.kind() === "ipv4" ? 4 : 6,
    bytes: Uint8Array.from(parsed.toByteArray()),
    text: parsed.kind() === "ipv4" ? parsed.toString() : (parsed as ipaddr.IPv6).toRFC5952String(),
  };
}

/**
 * Read an address. IPv4-mapped IPv6 addresses stay IPv6.
 *
 * @throws {AddressError}
 *
 * @example
 * ```ts
 * import { parseAddress } from "./address.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(parseAddress("fd77:0::1").text, "fd77::1");
 * ```
 */
export function parseAddress(text: string): Address {
  // The library also reads 10.1 and 0x7f.1, as inet_aton does; nobody means that here.
  const ok = text.includes(":") ? ipaddr.IPv6.isValid(text) : ipaddr.IPv4.isValidFourPartDecimal(text);
  if (!ok || text.includes("%")) throw new AddressError(`"${text}" is not an IP address`);
  // It also reads ::10.0.0.1 as if it were ::ffff:10.0.0.1, which is another address.
  return fromLibrary(ipaddr.parse(text.replace(/^::(?=\d+\.)/, "::0:")));
}

/** IPv4 addresses that were made lately: each connection that is set up has two of few. */
const lately = new Map<number, Address>();
const LATELY_MAX = 1024;

function fromFour(bytes: Uint8Array): Address {
  const key = (bytes[0]! << 24 | bytes[1]! << 16 | bytes[2]! << 8 | bytes[3]!) >>> 0;
  let address = lately.get(key);
  if (!address) {
    if (lately.size >= LATELY_MAX) lately.clear();
    address = { family: 4, bytes: bytes.slice(), text: bytes.join(".") };
    lately.set(key, address);
  }
  return address;
}

/** The address of 4 or 16 bytes in network order, which are copied. Equal ones may be one object. */
export function addressOf(bytes: Uint8Array): Address {
  if (bytes.length === 4) return fromFour(bytes);
  return fromLibrary(ipaddr.fromByteArray([...bytes]));
}

/** Is it an IPv4-mapped IPv6 address, such as ::ffff:10.0.0.1? */
export function isMapped({ family, bytes }: Address): boolean {
  return family === 6 && bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
}

/** An IPv4-mapped IPv6 address as the IPv4 address that it stands for; any other as it is. */
export function unmapped(address: Address): Address {
  return isMapped(address) ? addressOf(address.bytes.slice(12)) : address;
}

/** Is it 0.0.0.0 or ::? */
export function isUnspecified(address: Address): boolean {
  return address.bytes.every((byte) => byte === 0);
}

/** 0.0.0.0 or ::. */
export function unspecified(family: 4 | 6): Address {
  return addressOf(new Uint8Array(family === 4 ? 4 : 16));
}

/** `10.77.0.2:80` or `[fd77::2]:80`. */
export function formatEndpoint({ address, port }: Endpoint): string {
  return address.family === 4 ? `${address.text}:${port}` : `[${address.text}]:${port}`;
}

/** A network that the switch gives addresses from. */
export class Network {
  readonly #base: bigint;
  readonly #hostBits: number;

  private constructor(readonly family: 4 | 6, base: bigint, readonly prefix: number) {
    this.#base = base;
    this.#hostBits = (family === 4 ? 32 : 128) - prefix;
  }

  /**
   * Read a network such as `10.77.0.0/16`.
   *
   * @throws {AddressError}
   */
  static parse(text: string): Network {
    const [base, prefix, ...rest] = text.split("/");
    if (base === undefined || prefix === undefined || rest.length > 0 || !/^\d{1,3}$/.test(prefix)) {
      throw new AddressError(`"${text}" is not a network such as 10.77.0.0/16`);
    }
    const address = parseAddress(base);
    const bits = address.bytes.length * 8;
    const length = Number(prefix);
    if (length > bits) throw new AddressError(`"${text}": a prefix has at most ${bits} bits`);
    if (bits - length < 2) throw new AddressError(`"${text}" is too small: it has no room for a VM and the switch`);
    const value = toNumber(address.bytes);
    const mask = (1n << BigInt(bits - length)) - 1n;
    if (value & mask) throw new AddressError(`"${text}" has bits set behind its prefix`);
    return new Network(address.family, value, length);
  }

  /** The nth address of the network, or undefined beyond its end (and for IPv4's broadcast address). */
  at(n: number | bigint): Address | undefined {
    const size = 1n << BigInt(this.#hostBits);
    const last = this.family === 4 ? size - 2n : size - 1n;
    if (n < 0 || BigInt(n) > last) return undefined;
    return addressOf(toBytes(this.#base + BigInt(n), this.family === 4 ? 4 : 16));
  }

  /** Which address of the network it is, or undefined when it is none. */
  indexOf(address: Address): bigint | undefined {
    if (address.family !== this.family) return undefined;
    const n = toNumber(address.bytes) - this.#base;
    return n >= 0n && n < 1n << BigInt(this.#hostBits) ? n : undefined;
  }

  toString(): string {
    return `${this.at(0)?.text}/${this.prefix}`;
  }
}

function toNumber(bytes: Uint8Array): bigint {
  return bytes.reduce((value, byte) => value << 8n | BigInt(byte), 0n);
}

function toBytes(value: bigint, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Number(value >> BigInt(8 * (length - 1 - i)) & 0xffn));
}
