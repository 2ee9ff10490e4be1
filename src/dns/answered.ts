/**
 * What an upstream's answer says about the name that was asked for.
 *
 * @module
 */

import { type Address, parseAddress } from "../net/address.ts";
import { HOOK_RECORDS_MAX } from "./limits.ts";
import { answersOf, type Query, Rcode, rcodeOf } from "./message.ts";
import { canonicalName, type ZoneRecord } from "./zone.ts";

/** The records that answer a query, and the shortest time to live on the way to them, in seconds. */
export interface Answered {
  readonly records: readonly ZoneRecord[];
  readonly ttl: number;
}

/**
 * The records of the type that was asked for (A, AAAA or PTR), owned by the name or by what it is an alias of. Others, which a server
 * may add as it likes, say nothing about the name.
 *
 * @returns undefined when there are none, or the answer is malformed.
 */
export function answeredBy(response: Uint8Array, query: Query): Answered | undefined {
  if (!["A", "AAAA", "PTR"].includes(query.type) || rcodeOf(response) !== Rcode.NOERROR) return undefined;
  try {
    const answers = answersOf(response, query, HOOK_RECORDS_MAX).filter((record) => record.class === "IN");
    const aliases = Map.groupBy(
      answers.filter(({ type }) => type === "CNAME"),
      ({ name }) => canonicalName(name),
    );
    const owners = new Set([canonicalName(query.name)]);
    let ttl = Infinity;
    // Aliases may come in any order: each name's are followed once, which ends loops too.
    for (const owner of owners) {
      for (const { data, ttl: seconds } of aliases.get(owner) ?? []) {
        owners.add(canonicalName(String(data)));
        ttl = Math.min(ttl, seconds ?? 0);
      }
    }
    const own = answers.filter(({ type, name }) => type === query.type && owners.has(canonicalName(name)));
    const records = own.map(({ data }) => recordOf(query.type, String(data)));
    for (const { ttl: seconds } of own) ttl = Math.min(ttl, seconds ?? 0);
    return records.length > 0 ? { records, ttl } : undefined;
  } catch {
    return undefined;
  }
}

function recordOf(type: string, data: string): Address | string {
  return type === "PTR" ? canonicalName(data) : parseAddress(data);
}
