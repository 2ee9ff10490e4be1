/**
 * Reverse names: those under in-addr.arpa and ip6.arpa, which stand for addresses and, shortened, for networks.
 *
 * @module
 */

import { type Address, addressOf } from "../net/address.ts";

const suffixes = { 4: "in-addr.arpa", 6: "ip6.arpa" } as const;
/** Bits that a label stands for. */
const labelBits = { 4: 8, 6: 4 } as const;

/** What a reverse name says. */
export interface ReverseName {
  /** The address, or the first one of the network. */
  readonly address: Address;
  /** How many of the address's bits the name says. */
  readonly bits: number;
  /** Are there labels before those that say the address? */
  readonly below: boolean;
}

function labelsOf(address: Address): string[] {
  if (address.family === 4) return [...address.bytes].map(String);
  return [...address.bytes].flatMap((byte) => [(byte >> 4).toString(16), (byte & 15).toString(16)]);
}

/** The reverse name of an address, or of the network that its first `bits` bits are (rounded up to a label). */
export function reverseName(address: Address, bits = address.bytes.length * 8): string {
  const labels = labelsOf(address).slice(0, Math.ceil(bits / labelBits[address.family]));
  return [...labels.reverse(), suffixes[address.family]].join(".");
}

/**
 * Read a reverse name, in lower case.
 *
 * @returns undefined when it is none.
 *
 * @example
 * ```ts
 * import { parseReverseName } from "./reverse.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(parseReverseName("2.0.77.10.in-addr.arpa")?.address.text, "10.77.0.2");
 * ```
 */
export function parseReverseName(name: string): ReverseName | undefined {
  const family = name.endsWith(".in-addr.arpa") ? 4 : name.endsWith(".ip6.arpa") ? 6 : undefined;
  if (family === undefined) return undefined;
  const labels = name.slice(0, -suffixes[family].length - 1).split(".").reverse();
  const right = family === 4 ? /^(0|[1-9]\d?|1\d\d|2[0-4]\d|25[0-5])$/ : /^[0-9a-f]$/;
  const most = family === 4 ? 4 : 32;
  const wrong = labels.findIndex((label, i) => i >= most || !right.test(label));
  const said = wrong < 0 ? labels : labels.slice(0, wrong);
  const padded = [...said, ...Array<string>(most - said.length).fill("0")];
  const bytes = family === 4
    ? padded.map(Number)
    : Array.from({ length: 16 }, (_, i) => parseInt(padded[2 * i]! + padded[2 * i + 1]!, 16));
  return {
    address: addressOf(Uint8Array.from(bytes)),
    bits: said.length * labelBits[family],
    below: said.length < labels.length,
  };
}
