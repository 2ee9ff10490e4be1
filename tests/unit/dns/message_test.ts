import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { isAnswerTo, makeReply, parseQuery, type Query, Rcode, withId } from "../../../src/dns/message.ts";
import { type Answer, answerTo, decode, queryBytes, record } from "../../support/dns.ts";
import { property } from "../../support/property.ts";

function queryOf(bytes: Uint8Array): Query {
  const parsed = parseQuery(bytes);
  assert(parsed.kind === "query", "it is well-formed");
  return parsed.query;
}

/** What becomes of bytes: "query", "drop", or the code of the error. */
function outcome(bytes: Uint8Array): string | number {
  const parsed = parseQuery(bytes);
  return parsed.kind === "error" ? decode(parsed.reply).rcode : parsed.kind;
}

/** A query of one question, its name given as bytes. */
function raw(name: readonly number[], rest: readonly number[] = [0, 1, 0, 1]): Uint8Array {
  return Uint8Array.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, ...rest]);
}

function changed(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at] = value;
  return copy;
}

Deno.test("parseQuery() reads a question, its case, and how much the client takes", () => {
  const query = queryOf(queryBytes("WeB.csvn", "AAAA"));
  assertEquals([query.name, query.canonical, query.type, query.class], ["WeB.csvn", "web.csvn", "AAAA", "IN"]);
  assertEquals([query.edns, query.udpMax], [undefined, 512]);
  const sizes = [[0, 512], [1232, 1232], [4096, 4096], [65_535, 4096]] as const;
  for (const [edns, expected] of sizes) {
    assertEquals(queryOf(changedSize(queryBytes("a", "A", { edns: edns || 1 }), edns)).udpMax, expected);
  }
});

/** The size is behind the OPT record's name and type, 8 bytes before the end. */
function changedSize(bytes: Uint8Array, size: number): Uint8Array {
  return changed(changed(bytes, bytes.length - 8, size >> 8), bytes.length - 7, size & 0xff);
}

Deno.test("parseQuery() tells a dot inside a label from one between labels", () => {
  const query = queryOf(raw([8, 0x77, 0x65, 0x62, 0x2e, 0x63, 0x73, 0x76, 0x6e, 0]));
  assertEquals(query.canonical, "web\\.csvn");
});

Deno.test("parseQuery() drops answers and what is too short to be told from one", () => {
  const query = queryBytes("web", "A");
  assertEquals(outcome(changed(query, 2, 0x81)), "drop");
  for (let length = 0; length < 4; length++) assertEquals(outcome(query.subarray(0, length)), "drop");
});

Deno.test("parseQuery() refuses what is malformed, cut short or too long, and says so", () => {
  const query = queryBytes("web.csvn", "A", { edns: 1232 });
  for (let length = 4; length < query.length; length++) {
    assertEquals([length, outcome(query.subarray(0, length))], [length, Rcode.FORMERR]);
  }
  const wrong = {
    "behind the end": Uint8Array.from([...query, 0]),
    "no question": changed(query, 5, 0),
    "two questions": changed(query, 5, 2),
    "65,281 questions": changed(query, 4, 255),
    "answers that are not there": changed(query, 6, 255),
    "a name that points at itself": raw([0xc0, 12]),
    "a name that points into itself": raw([1, 0x61, 0xc0, 12]),
    "a name that points at the header": raw([0xc0, 4]),
    "a name that points forward": raw([0xc0, 14, 0]),
    "a pointer that is cut": raw([0xc0], []),
    "a label that is cut": raw([63, 0x61], []),
    "a label of a reserved kind": raw([0x41, 0x61, 0]),
    "a name longer than 255 bytes": raw([...Array(5).fill([63, ...Array(63).fill(0x61)]).flat(), 0]),
    "longer than any query": raw(Array(5000).fill(0)),
    "an OPT record that is not the root's": raw([0], [0, 1, 0, 1, 1, 0x61, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0]),
  };
  wrong["an OPT record that is not the root's"][11] = 1;
  for (const [what, bytes] of Object.entries(wrong)) assertEquals([what, outcome(bytes)], [what, Rcode.FORMERR]);
  const opt = [0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0];
  assertEquals(outcome(changed(raw([0], [0, 1, 0, 1, ...opt]), 11, 1)), "query");
  assertEquals(outcome(changed(raw([0], [0, 1, 0, 1, ...opt, ...opt]), 11, 2)), Rcode.FORMERR);
});

Deno.test("parseQuery() knows one kind of operation", () => {
  for (let opcode = 1; opcode < 16; opcode++) {
    const bytes = changed(queryBytes("web", "A"), 2, opcode << 3 & 0x7f);
    assertEquals([opcode, outcome(bytes)], [opcode, Rcode.NOTIMP]);
  }
});

const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 600 }),
  // A header that gets past the first checks.
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Uint8Array.from([1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...bytes])),
  // A good query with a few bytes changed.
  fc.array(fc.tuple(fc.nat(36), fc.nat(255)), { maxLength: 4 }).map((changes) =>
    changes.reduce((bytes, [at, value]) => changed(bytes, at, value), queryBytes("web.csvn", "A", { edns: 1232 }))
  ),
);

Deno.test("parseQuery() never throws, and errors bear the id and are answers", () => {
  property(
    fc.property(anyBytes, (bytes) => {
      const parsed = parseQuery(bytes);
      const isQuery = bytes.length >= 4 && (bytes[2]! & 0x80) === 0;
      assertEquals(parsed.kind !== "drop", isQuery);
      if (parsed.kind !== "error") return;
      assertEquals(parsed.reply.length, 12);
      assertEquals(parsed.reply.subarray(0, 2), bytes.subarray(0, 2));
      assertEquals(parsed.reply[2]! & 0x80, 0x80);
    }),
    2000,
  );
});

Deno.test("makeReply() copies id, question and RD of any query, and can be read", () => {
  property(
    fc.property(anyBytes, fc.nat(16), (bytes, rcode) => {
      const parsed = parseQuery(bytes);
      if (parsed.kind !== "query") return;
      const { query } = parsed;
      const reply = makeReply(query, { rcode }, query.udpMax);
      assert(isAnswerTo(reply, query, bytes[0]! << 8 | bytes[1]!));
      assertEquals(reply.subarray(12, query.questionEnd), bytes.subarray(12, query.questionEnd));
      const { flags, additionals } = decode(reply);
      assertEquals(flags & 0x100, (bytes[2]! & 1) << 8);
      assertEquals(additionals.length, query.edns === undefined ? 0 : 1);
      assertEquals(
        (flags & 15) + 16 * (additionals[0]?.extendedRcode ?? 0),
        query.edns === undefined ? rcode & 15 : rcode,
      );
    }),
    2000,
  );
});

Deno.test("makeReply() gives as many records as fit, and TC when these are not all", () => {
  const answers = (n: number): Answer[] => Array.from({ length: n }, (_, i) => record("web.csvn", "A", `10.77.1.${i}`));
  property(fc.property(fc.nat(60), fc.boolean(), fc.integer({ min: 100, max: 1500 }), (n, edns, max) => {
    const query = queryOf(queryBytes("web.csvn", "A", edns ? { edns: 1232 } : {}));
    const reply = makeReply(query, { rcode: 0, answers: answers(n) }, max);
    const { answers: given, truncated } = decode(reply);
    const one = 24; // bytes of a record of that name
    assert(reply.length <= max);
    assertEquals(truncated, given.length < n);
    if (truncated) assert(reply.length + one > max, "no more fits");
  }));
});

Deno.test("isAnswerTo() wants the id, the question and an answer, whatever the case of letters", () => {
  const query = queryOf(queryBytes("WeB.example", "UNKNOWN_65"));
  const good = answerTo(decode(query.bytes), []);
  assert(isAnswerTo(good, query, 0x1234));
  assert(isAnswerTo(answerTo(decode(queryBytes("web.EXAMPLE", "UNKNOWN_65")), []), query, 0x1234));
  assert(!isAnswerTo(good, query, 0x1235), "another id");
  assert(!isAnswerTo(withId(good, 1), query, 0x1234), "another id");
  assert(!isAnswerTo(query.bytes, query, 0x1234), "a query");
  assert(!isAnswerTo(good.subarray(0, good.length - 1), query, 0x1234), "cut short");
  assert(!isAnswerTo(changed(good, 5, 0), query, 0x1234), "no question");
  // 97 is 65 when a letter's case is overlooked where there are no letters.
  for (
    const [name, type] of [["wea.example", "UNKNOWN_65"], ["web.example", "UNKNOWN_97"], ["web.example", "A"]] as const
  ) {
    assert(!isAnswerTo(answerTo(decode(queryBytes(name, type)), []), query, 0x1234), `${name} ${type}`);
  }
});
