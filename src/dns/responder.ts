/**
 * Turns what a client sent into what it is answered: from the zone, by the upstreams, or with an error.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import { answeredBy } from "./answered.ts";
import type { Forwarder } from "./forwarder.ts";
import { MESSAGE_BYTES_MAX, ZONE_TTL } from "./limits.ts";
import { type Answer, makeReply, parseQuery, type Query, Rcode } from "./message.ts";
import type { Zone, ZoneAnswer, ZoneRecord, ZoneType } from "./zone.ts";

/**
 * Told of an answer that has records of the type that was asked for, before the client gets it.
 *
 * @param name As names are compared: lower case, no dot at the end.
 * @param type A, AAAA or PTR.
 * @param records Addresses or names; for a forwarded name also those of its aliases.
 * @param ttl Seconds.
 */
export type OnAnswer = (name: string, type: ZoneType, records: readonly ZoneRecord[], ttl: number) => void;

/** May the client have others asked for a name, or, if not for that one, for names below it? */
export type Forwardable = "yes" | "below" | "no";

/**
 * May the client have others asked for this name? The switch's own names are always answered.
 *
 * @param name As names are compared: lower case, no dot at the end.
 */
export type MayForward = (name: string) => Forwardable;

/** Told of a name that the client has asked for, and may not have others asked for. */
export type OnHidden = (name: string, type: string) => void;

/** What a responder is made of. */
export interface ResponderOptions {
  readonly zone: Zone;
  readonly onAnswer?: OnAnswer;
  readonly mayForward?: MayForward;
  readonly onHidden?: OnHidden;
}

/** The name above all others. */
const ROOT = ".";

const zoneTypes: readonly string[] = ["A", "AAAA", "PTR"] satisfies ZoneType[];

function isZoneType(type: string): type is ZoneType {
  return zoneTypes.includes(type);
}

/**
 * Answers messages.
 *
 * Theory of operation. A name that policy hides does not exist, for the client: NXDOMAIN. Resolvers with a list of domains to search try one
 * name after the other, and go on to the next after NXDOMAIN, all of them; after REFUSED or SERVFAIL musl's stops, and the name that policy allows is
 * never asked for; after an answer without records it stops as well. Nobody is to remember that it does not exist: its SOA record says 0 seconds,
 * so that a change of policy shows at once. Where names below it may be asked for, there is the name, without records (RFC 8020); so there is
 * always the root, since the switch's own names are below it.
 */
export class Responder {
  readonly zone: Zone;

  constructor(readonly forwarder: Forwarder, readonly log: Logger, readonly options: ResponderOptions) {
    this.zone = options.zone;
  }

  /**
   * The answer to a message; undefined: it is dropped. Never throws.
   *
   * @param tcp Did it come over TCP?
   */
  async respond(bytes: Uint8Array, tcp: boolean): Promise<Uint8Array | undefined> {
    const parsed = parseQuery(bytes);
    if (parsed.kind === "drop") return undefined;
    if (parsed.kind === "error") return parsed.reply;
    const { query } = parsed;
    const max = tcp ? MESSAGE_BYTES_MAX : query.udpMax;
    try {
      return this.#refuse(query, max) ?? this.#fromZone(query, max) ?? await this.#forward(query, tcp, max);
    } catch (error) {
      this.log.error("the query for {name} failed: {error}", { name: query.name, error });
      return makeReply(query, { rcode: Rcode.SERVFAIL }, max);
    }
  }

  #refuse(query: Query, max: number): Uint8Array | undefined {
    if (query.edns !== undefined && query.edns > 0) return makeReply(query, { rcode: Rcode.BADVERS }, max);
    // Other classes ask servers about themselves (version.bind), transfers are none of a resolver's business.
    const refused = query.class !== "IN" || query.type === "AXFR" || query.type === "IXFR";
    return refused ? makeReply(query, { rcode: Rcode.REFUSED }, max) : undefined;
  }

  #fromZone(query: Query, max: number): Uint8Array | undefined {
    const found = this.#lookup(query);
    if (!found) return undefined;
    if (found.kind !== "records") {
      const rcode = found.kind === "no-data" ? Rcode.NOERROR : Rcode.NXDOMAIN;
      const authorities = [startOfAuthority(found.apex ?? query.name, ZONE_TTL)];
      return makeReply(query, { rcode, authoritative: true, authorities }, max);
    }
    this.#tell(query, found.records, ZONE_TTL);
    const answers = found.records.map((record): Answer => ({
      name: query.name,
      type: query.type,
      class: "IN",
      ttl: ZONE_TTL,
      data: typeof record === "string" ? record : record.text,
    }));
    return makeReply(query, { rcode: Rcode.NOERROR, authoritative: true, answers }, max);
  }

  #lookup(query: Query): ZoneAnswer | undefined {
    if (isZoneType(query.type)) return this.zone.lookup(query.canonical, query.type);
    // Of a type that no zone has: the name is there or not.
    const found = this.zone.lookup(query.canonical, "A");
    if (found?.kind !== "records") return found;
    const absent = this.zone.lookup(query.canonical, "PTR");
    return absent?.kind === "no-data" ? absent : { kind: "no-data" };
  }

  async #forward(query: Query, tcp: boolean, max: number): Promise<Uint8Array> {
    const may = this.options.mayForward?.(query.canonical) ?? "yes";
    if (may !== "yes" || this.forwarder.isAlone) {
      if (may !== "yes") this.#hidden(query);
      const rcode = may === "below" || query.canonical === ROOT ? Rcode.NOERROR : Rcode.NXDOMAIN;
      return makeReply(query, { rcode, authorities: [startOfAuthority(ROOT, 0)] }, max);
    }
    const response = await this.forwarder.ask(query, tcp);
    if (!response) return makeReply(query, { rcode: Rcode.SERVFAIL }, max);
    if (response.length > max) return makeReply(query, { rcode: Rcode.NOERROR, truncated: true }, max);
    const answered = this.options.onAnswer && answeredBy(response, query);
    if (answered) this.#tell(query, answered.records, answered.ttl);
    return response;
  }

  #tell(query: Query, records: readonly ZoneRecord[], ttl: number): void {
    if (!isZoneType(query.type)) return;
    try {
      this.options.onAnswer?.(query.canonical, query.type, records, ttl);
    } catch (error) {
      this.log.error("the hook failed for {name}: {error}", { name: query.name, error });
    }
  }

  #hidden({ canonical, name, type }: Query): void {
    try {
      this.options.onHidden?.(canonical, type);
    } catch (error) {
      this.log.error("the hook failed for {name}: {error}", { name, error });
    }
  }
}

/** Tells how long the absence of a name may be remembered (RFC 2308). @param ttl Seconds. */
function startOfAuthority(apex: string, ttl: number): Answer {
  const data = { mname: apex, rname: "nobody.invalid", serial: 1, refresh: 3600, retry: 1200, expire: 604_800 };
  return { name: apex, type: "SOA", class: "IN", ttl, data: { ...data, minimum: ttl } };
}
