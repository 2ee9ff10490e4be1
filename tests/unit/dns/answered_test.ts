import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { answeredBy } from "../../../src/dns/answered.ts";
import { parseQuery, type Query } from "../../../src/dns/message.ts";
import { type Answer, answerTo, decode, queryBytes, record } from "../../support/dns.ts";
import { property } from "../../support/property.ts";

function queryFor(type: string): Query {
  const parsed = parseQuery(queryBytes("Www.Example", type));
  assert(parsed.kind === "query");
  return parsed.query;
}

/** What is found in an answer of these records, as text. */
function found(type: string, answers: readonly Answer[], flags = 0): string | undefined {
  const query = queryFor(type);
  const answered = answeredBy(answerTo(decode(query.bytes), answers, flags), query);
  return answered &&
    [answered.ttl, ...answered.records.map((record) => typeof record === "string" ? record : record.text)].join(" ");
}

Deno.test("answeredBy() finds the records of the name and of its aliases, and the shortest time to live", () => {
  assertEquals(found("A", [record("www.example", "A", "192.0.2.1", 30)]), "30 192.0.2.1");
  assertEquals(found("AAAA", [record("WWW.example", "AAAA", "2001:db8::1")]), "60 2001:db8::1");
  assertEquals(found("PTR", [record("www.example", "PTR", "Host.Example")]), "60 host.example");
  const aliases = [
    record("b.example", "A", "192.0.2.2", 50),
    record("a.example", "CNAME", "b.example", 7),
    record("www.example", "CNAME", "A.example", 40),
    record("b.example", "A", "192.0.2.3", 60),
  ];
  assertEquals(found("A", aliases), "7 192.0.2.2 192.0.2.3");
});

Deno.test("answeredBy() passes over what does not answer the question", () => {
  assertEquals(found("A", []), undefined);
  assertEquals(found("A", [record("other.example", "A", "192.0.2.1")]), undefined);
  assertEquals(
    found("A", [record("x.example", "CNAME", "y.example"), record("y.example", "A", "192.0.2.1")]),
    undefined,
  );
  assertEquals(found("A", [record("www.example", "AAAA", "2001:db8::1")]), undefined);
  assertEquals(found("TXT", [record("www.example", "TXT", "text")]), undefined);
  assertEquals(found("A", [record("www.example", "A", "192.0.2.1")], 3), undefined);
  assertEquals(found("A", [{ ...record("www.example", "A", "192.0.2.1"), class: "CH" }]), undefined);
});

Deno.test("answeredBy() ends when aliases go in circles", () => {
  const circle = [record("www.example", "CNAME", "a.example"), record("a.example", "CNAME", "www.example")];
  assertEquals(found("A", circle), undefined);
  assertEquals(found("A", [...circle, record("a.example", "A", "192.0.2.1")]), "60 192.0.2.1");
});

Deno.test("answeredBy() takes no longer for a thousand aliases that come last one first", () => {
  const count = 1000;
  const query = queryFor("A");
  const forth = Array.from(
    { length: count },
    (_, i) => record(i === 0 ? "www.example" : `n${i}.example`, "CNAME", `n${i + 1}.example`),
  );
  const end = record(`n${count}.example`, "A", "192.0.2.1");
  const [there, back] = [[...forth, end], [end, ...forth.reverse()]].map((answers) => {
    const response = answerTo(decode(query.bytes), answers);
    const times = Array.from({ length: 5 }, () => {
      const began = performance.now();
      assertEquals(answeredBy(response, query)?.records.length, 1);
      return performance.now() - began;
    });
    return Math.min(...times);
  });
  assert(back! < 5 * there! + 5, `${back} ms instead of ${there}`);
});

Deno.test("answeredBy() finds nothing in an address of another length", () => {
  const query = queryFor("A");
  const response = answerTo(decode(query.bytes), [record("www.example", "A", "192.0.2.1")]);
  assert(answeredBy(response, query));
  response[response.length - 5] = 3;
  assertEquals(answeredBy(response, query), undefined);
});

Deno.test("answeredBy() survives anything behind the question", () => {
  const query = queryFor("A");
  const head = answerTo(decode(query.bytes), []);
  property(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(0xffff), (rest, count) => {
      const response = Uint8Array.from([...head, ...rest]);
      response[6] = count >> 8;
      response[7] = count & 0xff;
      answeredBy(response, query);
    }),
    1000,
  );
});
