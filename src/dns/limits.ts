/**
 * The name service's limits, in one place.
 *
 * @module
 */

/** What one resolver puts up with. */
export interface ResolverLimits {
  /** Different queries that are with upstreams at once; beyond, SERVFAIL. */
  readonly forwarded: number;
  /** How often an upstream is asked for one query, all upstreams together. */
  readonly tries: number;
  /** Askers that wait for these; beyond, SERVFAIL. */
  readonly askers: number;
  /** Milliseconds after which the next try is made. */
  readonly tryMs: number;
  /** Milliseconds for which an answer is waited for, to whichever try. */
  readonly answerMs: number;
  /** TCP connections at once; beyond, they are closed at once. */
  readonly connections: number;
  /** Milliseconds in which a TCP client must have sent its next query, and have taken an answer. */
  readonly clientMs: number;
}

/** The limits of a resolver that is given none. */
export const DEFAULT_RESOLVER_LIMITS: ResolverLimits = {
  forwarded: 256,
  tries: 3,
  askers: 1024,
  tryMs: 2000,
  answerMs: 10_000,
  connections: 64,
  clientMs: 10_000,
};

/** Bytes of a query. Real ones have a few hundred; this bounds the time that reading one can take. */
export const QUERY_BYTES_MAX = 4096;
/** Bytes of a message: what TCP's length field can say. */
export const MESSAGE_BYTES_MAX = 65_535;
/** Bytes of an answer over UDP to a client that says nothing about it (RFC 1035). */
export const UDP_BYTES_DEFAULT = 512;
/** Bytes of an answer over UDP, whatever a client says that it takes. */
export const UDP_BYTES_MAX = 4096;
/** Seconds for which an answer about the switch's own names may be kept: VMs come and go. */
export const ZONE_TTL = 5;
/** Records of a forwarded answer that are looked at for the hook. */
export const HOOK_RECORDS_MAX = 1024;
/** Bytes of resolv.conf that are read. */
export const RESOLV_CONF_BYTES_MAX = 65_536;
