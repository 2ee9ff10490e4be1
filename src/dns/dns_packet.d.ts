/**
 * What csvn uses of the package `dns-packet`. Its published types lack the parts that read one name or one question, and ask for
 * Node's global types.
 *
 * @module
 */

import type { Buffer } from "node:buffer";

/** Reads one kind of thing; `bytes` says how many bytes the last call read. */
interface Decoder<T> {
  (bytes: Buffer, offset?: number, options?: { mail?: boolean }): T;
  bytes: number;
}

/** A question. Types and classes without a name are `UNKNOWN_n`. */
export interface Question {
  name: string;
  type: string;
  class: string;
}

/** A start of authority. */
export interface SoaData {
  mname: string;
  rname: string;
  serial: number;
  refresh: number;
  retry: number;
  expire: number;
  minimum: number;
}

/** A record; OPT has the last four fields instead of ttl and data. */
export interface Answer {
  name: string;
  type: string;
  class?: string;
  ttl?: number;
  data?: unknown;
  udpPayloadSize?: number;
  extendedRcode?: number;
  ednsVersion?: number;
  options?: unknown[];
}

/** A message. */
export interface Packet {
  id: number;
  type: "query" | "response";
  /** The header's second word without the topmost bit. */
  flags: number;
  questions: Question[];
  answers: Answer[];
  authorities: Answer[];
  additionals: Answer[];
}

declare const packet: {
  encode(message: Partial<Packet>): Buffer;
  decode: Decoder<Packet>;
  name: { decode: Decoder<string> };
  question: { decode: Decoder<Question> };
  answer: { decode: Decoder<Answer>; encodingLength(answer: Answer): number };
};
export default packet;
