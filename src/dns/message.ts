/**
 * DNS messages: queries are read, answers are made, and forwarded ones are recognised. The package `dns-packet` reads and writes
 * them; here are the checks that it leaves to its user.
 *
 * A question is copied into its answer byte for byte, because text cannot say every name: labels may hold any byte. A message that
 * is forwarded stays as it is, but for its id.
 *
 * @module
 */

import { Buffer } from "node:buffer";
// @ts-types="./dns_packet.d.ts"
import packet, { type Answer } from "dns-packet";
import { QUERY_BYTES_MAX, UDP_BYTES_DEFAULT, UDP_BYTES_MAX } from "./limits.ts";
import { canonicalName } from "./zone.ts";

/** A record, as the package has it. */
export type { Answer } from "dns-packet";

/** Response codes. */
export const Rcode = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  /** An extended one: its upper bits are in OPT. */
  BADVERS: 16,
} as const;

const HEADER_BYTES = 12;
const QR = 0x8000;
const OPCODE = 0x7800;
const AA = 0x400;
const TC = 0x200;
const RD = 0x100;
const RA = 0x80;
const CD = 0x10;

/** A well-formed query. */
export interface Query {
  readonly bytes: Uint8Array;
  /** As it was written: upper and lower case are the client's. */
  readonly name: string;
  /** The name as names are compared; a dot inside a label has a backslash before it. */
  readonly canonical: string;
  /** `A`, `HTTPS` as `UNKNOWN_65`. */
  readonly type: string;
  readonly class: string;
  /** Where the question ends. It begins behind the header. */
  readonly questionEnd: number;
  /** The version of EDNS; undefined without. */
  readonly edns: number | undefined;
  /** Bytes of an answer that the client takes over UDP. */
  readonly udpMax: number;
}

/** What came: a query; something that is answered with an error; or something that is dropped. */
export type Parsed =
  | { readonly kind: "query"; readonly query: Query }
  | { readonly kind: "error"; readonly reply: Uint8Array }
  | { readonly kind: "drop" };

function buffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function word(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! << 8 | bytes[offset + 1]!;
}

/** Read what a client sent. Never throws. */
export function parseQuery(bytes: Uint8Array): Parsed {
  // Without its flags it might be an answer; answering answers makes loops.
  if (bytes.length < 4 || word(bytes, 2) & QR) return { kind: "drop" };
  const error = (rcode: number): Parsed => ({ kind: "error", reply: headerReply(bytes, rcode) });
  if (bytes.length < HEADER_BYTES) return error(Rcode.FORMERR);
  if (word(bytes, 2) & OPCODE) return error(Rcode.NOTIMP);
  if (bytes.length > QUERY_BYTES_MAX || word(bytes, 4) !== 1) return error(Rcode.FORMERR);
  try {
    const { type, class: klass, name, canonical, end } = readQuestion(bytes);
    const { additionals } = packet.decode(buffer(bytes));
    const options = additionals.filter((record) => record.type === "OPT");
    const wrong = packet.decode.bytes !== bytes.length || options.length > 1 ||
      options.some(({ name }) => name !== ".");
    if (wrong) return error(Rcode.FORMERR);
    const size = options[0]?.udpPayloadSize ?? UDP_BYTES_DEFAULT;
    const query: Query = {
      bytes,
      name,
      canonical,
      type,
      class: klass,
      questionEnd: end,
      edns: options[0]?.ednsVersion,
      udpMax: Math.min(Math.max(size, UDP_BYTES_DEFAULT), UDP_BYTES_MAX),
    };
    return { kind: "query", query };
  } catch {
    return error(Rcode.FORMERR);
  }
}

/**
 * The first question.
 *
 * @throws {Error} when it is malformed.
 */
function readQuestion(
  bytes: Uint8Array,
): { name: string; canonical: string; type: string; class: string; end: number } {
  // Without the header before it a name has nothing to point at: the first name cannot be compressed.
  const body = buffer(bytes).subarray(HEADER_BYTES);
  const question = packet.question.decode(body, 0);
  const end = HEADER_BYTES + packet.question.decode.bytes;
  if (end > bytes.length) throw new Error("the question is cut short");
  // With `mail`, a dot inside a label is told from one between labels.
  return { ...question, canonical: canonicalName(packet.name.decode(body, 0, { mail: true })), end };
}

/** An answer that is only a header, to something that cannot be read. */
function headerReply(bytes: Uint8Array, rcode: number): Uint8Array {
  const flags = (word(bytes, 2) & (OPCODE | RD)) | rcode;
  return Uint8Array.from(packet.encode({ id: word(bytes, 0), type: "response", flags }));
}

/** What an answer says. */
export interface Reply {
  readonly rcode: number;
  /** Does it come from our own zone? */
  readonly authoritative?: boolean;
  readonly truncated?: boolean;
  readonly answers?: readonly Answer[];
  readonly authorities?: readonly Answer[];
}

/** An answer of our own to a query: with what fits into `max` bytes, and TC when that is not all. */
export function makeReply(query: Query, reply: Reply, max: number): Uint8Array {
  const { rcode, authoritative, answers = [], authorities = [] } = reply;
  const opt: Answer = {
    name: ".",
    type: "OPT",
    udpPayloadSize: UDP_BYTES_MAX,
    extendedRcode: rcode >> 4,
    ednsVersion: 0,
    options: [],
  };
  const additionals = query.edns === undefined ? [] : [opt];
  let room = max - query.questionEnd;
  for (const record of [...additionals, ...authorities]) room -= packet.answer.encodingLength(record);
  const fits = answers.findIndex((record) => (room -= packet.answer.encodingLength(record)) < 0);
  const truncated = reply.truncated || fits >= 0;
  const asked = word(query.bytes, 2) & (RD | CD);
  const bytes = packet.encode({
    id: word(query.bytes, 0),
    type: "response",
    flags: (rcode & 15) | RA | asked | (authoritative ? AA : 0) | (truncated ? TC : 0),
    answers: fits < 0 ? [...answers] : answers.slice(0, fits),
    authorities: [...authorities],
    additionals,
  });
  bytes.writeUInt16BE(1, 4);
  const question = query.bytes.subarray(HEADER_BYTES, query.questionEnd);
  return Uint8Array.from(Buffer.concat([bytes.subarray(0, HEADER_BYTES), question, bytes.subarray(HEADER_BYTES)]));
}

/** The same message under another id. */
export function withId(bytes: Uint8Array, id: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[0] = id >> 8;
  copy[1] = id & 0xff;
  return copy;
}

/** The id of a message of at least two bytes. */
export function idOf(bytes: Uint8Array): number {
  return word(bytes, 0);
}

/** Is it the answer to this query, when that was sent under this id? */
export function isAnswerTo(bytes: Uint8Array, query: Query, id: number): boolean {
  if (bytes.length < query.questionEnd || word(bytes, 0) !== id || word(bytes, 4) !== 1) return false;
  if ((word(bytes, 2) & (QR | OPCODE)) !== QR) return false;
  // Servers may change the case of a name's letters; lengths of labels are smaller than any letter.
  const nameEnd = query.questionEnd - 4;
  for (let i = HEADER_BYTES; i < query.questionEnd; i++) {
    const [a, b] = [query.bytes[i]!, bytes[i]!];
    if (i < nameEnd ? lower(a) !== lower(b) : a !== b) return false;
  }
  return true;
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
}

/** Does the answer say that it is cut short? */
export function isTruncated(bytes: Uint8Array): boolean {
  return (word(bytes, 2) & TC) !== 0;
}

/** The code of an answer, without EDNS's part. */
export function rcodeOf(bytes: Uint8Array): number {
  return word(bytes, 2) & 15;
}

/**
 * The records of an answer's main section, until `max`.
 *
 * @throws {Error} when one of them is malformed.
 */
export function answersOf(bytes: Uint8Array, query: Query, max: number): Answer[] {
  const source = buffer(bytes);
  const answers: Answer[] = [];
  let offset = query.questionEnd;
  for (let n = Math.min(word(bytes, 6), max); n > 0; n--) {
    const answer = packet.answer.decode(source, offset);
    offset += packet.answer.decode.bytes;
    if (offset > bytes.length) throw new Error("a record is cut short");
    // The package takes the length of an address for granted.
    const length = { A: 4, AAAA: 16 }[answer.type];
    if (length !== undefined && source.readUInt16BE(offset - length - 2) !== length) {
      throw new Error(`an ${answer.type} record has another length`);
    }
    answers.push(answer);
  }
  return answers;
}
