/**
 * What the resolver asks about names of the switch's own.
 *
 * @module
 */

import type { Address } from "../net/address.ts";

/** Types of records that a zone has. */
export type ZoneType = "A" | "AAAA" | "PTR";

/** A record's content: an address for A and AAAA, a name for PTR. */
export type ZoneRecord = Address | string;

/** Is it an address? */
export function isAddress(record: ZoneRecord): record is Address {
  return typeof record !== "string";
}

/** What a zone knows about a name. `apex` is the name at which the zone begins; without it, the name itself. */
export type ZoneAnswer =
  | { readonly kind: "records"; readonly records: readonly ZoneRecord[] }
  /** The name is there, but not with this type. */
  | { readonly kind: "no-data"; readonly apex?: string }
  /** The name is ours to know, and there is none. */
  | { readonly kind: "no-such-name"; readonly apex?: string };

/** Names that are answered here and not forwarded. */
export interface Zone {
  /**
   * Look a name up.
   *
   * @param name Without its last dot, in lower case; a dot inside a label has a backslash before it.
   * @returns undefined when the name is none of ours.
   */
  lookup(name: string, type: ZoneType): ZoneAnswer | undefined;
}

/**
 * A name in the form in which names are compared: ASCII letters in lower case, no dot at the end. Others than ASCII's stay, since
 * Unicode has letters beside k and s whose lower case is k and s.
 *
 * @example
 * ```ts
 * import { canonicalName } from "./zone.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(canonicalName("Web.CSVN."), "web.csvn");
 * ```
 */
export function canonicalName(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()).replace(/(?<=[^\\])\.$/, "");
}

/** Is the name that one, or below it? */
export function isWithin(name: string, apex: string): boolean {
  return name === apex || (name.endsWith(`.${apex}`) && name.at(-apex.length - 2) !== "\\");
}
