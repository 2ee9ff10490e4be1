/**
 * The resolver on real sockets: clients, upstreams and the resolver itself, all on loopback addresses of the tests' own.
 *
 * @module
 */

import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import fc from "fast-check";
import { Rcode } from "../../src/dns/message.ts";
import { Resolver, type ResolverOptions } from "../../src/dns/resolver.ts";
import { reverseName } from "../../src/dns/reverse.ts";
import { fixedUpstreams } from "../../src/dns/upstreams.ts";
import { type Endpoint, parseAddress } from "../../src/net/address.ts";
import {
  answerTo,
  askTcp,
  type Behaviour,
  connectTcp,
  decode,
  FakeDirectory,
  FakeUpstream,
  queryBytes,
  record,
  RESOLVER,
  UdpClient,
  UPSTREAMS,
} from "../support/dns.ts";
import { asyncProperty } from "../support/property.ts";
import { until } from "../support/until.ts";

const TC = 0x200;
/** No test waits for this: where an upstream is silent, time is short; elsewhere it must not run out. */
const short = { tryMs: 50, answerMs: 200 };
const long = { tryMs: 60_000, answerMs: 60_000, clientMs: 60_000 };

type Options = Partial<Omit<ResolverOptions, "upstreams">> & { upstreams?: readonly Endpoint[] };

function start({ upstreams = [], ...options }: Options = {}): Promise<Resolver> {
  return Resolver.start({
    zone: new FakeDirectory().zone,
    upstreams: fixedUpstreams(upstreams),
    hostname: RESOLVER,
    limits: long,
    ...options,
  });
}

/** Answers A with an address. */
const gives = (address: string): Behaviour => (query) => [
  answerTo(query, [record(query.questions[0]!.name, "A", address)]),
];
const silent: Behaviour = () => [];
const says = (rcode: number): Behaviour => (query) => [answerTo(query, [], rcode)];

/** A directory with a service of so many addresses. */
function crowd(name: string, size: number): FakeDirectory {
  const directory = new FakeDirectory();
  directory.services.set(name, Array.from({ length: size }, (_, i) => parseAddress(`192.0.${i >> 8}.${i & 255}`)));
  return directory;
}

Deno.test("a client asks for the switch's names over UDP and TCP", async () => {
  await using resolver = await start();
  await using udp = await UdpClient.open(resolver.udp);
  using tcp = await connectTcp(resolver.tcp);
  const web = queryBytes("Web.csvn", "A");
  for (const answer of [await udp.exchange(web), await askTcp(tcp, web)]) {
    assert(answer);
    assertEquals([answer.rcode, answer.authoritative, answer.id], [Rcode.NOERROR, true, 0x1234]);
    assertEquals(answer.answers, [
      { ...record("Web.csvn", "A", "10.77.0.10", 5), flush: false } as typeof answer.answers[0],
    ]);
  }
  assertEquals((await udp.ask("db", "AAAA")).data, ["fd77:6373:766e::11"]);
  assertEquals((await udp.ask(reverseName(parseAddress("10.77.0.11")), "PTR")).data, ["db.csvn"]);
  assertEquals((await udp.ask("gateway.csvn", "A")).data, ["10.77.0.1"]);
  assertEquals((await askTcp(tcp, queryBytes("db", "A")))?.data, ["10.77.0.11"]);
});

Deno.test("what is not there is answered with the reason, and a SOA record", async () => {
  await using resolver = await start();
  await using udp = await UdpClient.open(resolver.udp);
  const cases = [
    ["nobody.csvn", "A", Rcode.NXDOMAIN, "csvn"],
    ["nobody.csvn", "MX", Rcode.NXDOMAIN, "csvn"],
    ["web.csvn", "MX", Rcode.NOERROR, "csvn"],
    ["web.csvn", "UNKNOWN_65", Rcode.NOERROR, "csvn"],
    ["web.csvn", "ANY", Rcode.NOERROR, "csvn"],
    ["web", "TXT", Rcode.NOERROR, "web"],
    ["99.0.77.10.in-addr.arpa", "PTR", Rcode.NXDOMAIN, "77.10.in-addr.arpa"],
  ] as const;
  for (const [name, type, rcode, apex] of cases) {
    const answer = await udp.ask(name, type, { edns: 1232 });
    const [soa] = answer.authorities;
    assertEquals([name, type, answer.rcode, answer.data, soa?.type, soa?.name, soa?.ttl], [
      name,
      type,
      rcode,
      [],
      "SOA",
      apex,
      5,
    ]);
  }
});

Deno.test("other classes, transfers and versions of EDNS are refused; without an upstream there are no other names", async () => {
  await using resolver = await start();
  await using udp = await UdpClient.open(resolver.udp);
  assertEquals((await udp.ask("version.bind", "TXT", { class: "CH" })).rcode, Rcode.REFUSED);
  assertEquals((await udp.ask("csvn", "AXFR")).rcode, Rcode.REFUSED);
  const nobody = await udp.ask("www.example", "A");
  assertEquals([nobody.rcode, nobody.authorities.map(({ ttl }) => ttl)], [Rcode.NXDOMAIN, [0]]);
  assertEquals((await udp.ask(".", "NS")).rcode, Rcode.NOERROR, "ours are below it");
  const { rcode, additionals } = await udp.ask("web", "A", { edns: 1232, ednsVersion: 1 });
  assertEquals([rcode, additionals[0]?.extendedRcode], [0, 1]);
});

Deno.test("other names are forwarded as they are, under ids and ports of our own", async () => {
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], gives("192.0.2.1"));
  await using resolver = await start({ upstreams: [upstream.endpoint] });
  await using udp = await UdpClient.open(resolver.udp);
  const asked = queryBytes("wWw.eXample", "A", { edns: 4000, flags: 0x110 });
  for (let id = 0; id < 8; id++) {
    asked[1] = id;
    const answer = await udp.exchange(asked);
    assertEquals([answer.id, answer.data, answer.authoritative], [0x1200 + id, ["192.0.2.1"], false]);
    assertEquals(answer.questions[0]?.name, "wWw.eXample");
  }
  assertEquals((await udp.ask("nobody", "A")).data, ["192.0.2.1"]);
  for (const { query } of upstream.queries.slice(0, 8)) assertEquals(query.bytes.subarray(2), asked.subarray(2));
  const distinct = (of: (query: typeof upstream.queries[0]) => number): number =>
    new Set(upstream.queries.map(of)).size;
  assert(distinct(({ query }) => query.id) > 4 && distinct(({ port }) => port) > 4);
});

Deno.test("names of ours are never forwarded", async () => {
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], gives("192.0.2.1"));
  await using resolver = await start({ upstreams: [upstream.endpoint] });
  await using udp = await UdpClient.open(resolver.udp);
  for (const name of ["web", "WEB.CSVN", "x.csvn", "a.b.c.csvn", "csvn", "9.9.77.10.in-addr.arpa"]) {
    for (const type of ["A", "AAAA", "PTR", "TXT"]) await udp.ask(name, type);
  }
  assertEquals(upstream.queries.length, 0);
});

Deno.test("a name whose bytes are no text is forwarded and answered byte for byte", async () => {
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], (query) => {
    const answer = Uint8Array.from(query.bytes);
    answer[2] = 0x80;
    return [answer];
  });
  await using resolver = await start({ upstreams: [upstream.endpoint] });
  await using udp = await UdpClient.open(resolver.udp);
  const bytes = Uint8Array.from([
    9,
    9,
    1,
    0,
    0,
    1,
    0,
    0,
    0,
    0,
    0,
    0,
    4,
    0xff,
    0x2e,
    0,
    0xc3,
    2,
    0x66,
    0x6f,
    0,
    0,
    1,
    0,
    1,
  ]);
  const answer = await udp.exchange(bytes);
  assertEquals(answer.bytes.subarray(4), bytes.subarray(4));
});

Deno.test("an answer with another id or question is not taken", async () => {
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], (query) => {
    const name = query.questions[0]!.name;
    const forged = [record(name, "A", "203.0.113.66")];
    const other = { ...query, questions: [{ ...query.questions[0]!, name: "other.example" }] };
    const cut = answerTo(query, forged).subarray(0, 20);
    return [
      answerTo({ ...query, id: query.id ^ 1 }, forged),
      answerTo(other, forged),
      cut,
      query.bytes,
      answerTo(query, [record(name, "A", "192.0.2.1")]),
    ];
  });
  await using resolver = await start({ upstreams: [upstream.endpoint] });
  await using udp = await UdpClient.open(resolver.udp);
  assertEquals((await udp.ask("www.example", "A")).data, ["192.0.2.1"]);
});

Deno.test("an answer from elsewhere is not taken, though id and question are right", async () => {
  await using forger = await FakeUpstream.start(UPSTREAMS[1], silent);
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], silent);
  await using resolver = await start({ upstreams: [upstream.endpoint] });
  await using udp = await UdpClient.open(resolver.udp);
  const answer = udp.ask("www.example", "A");
  const { query, port } = await until("the query is at the upstream", () => upstream.queries[0]);
  const to = { address: parseAddress("127.0.0.1"), port };
  await forger.send(answerTo(query, [record("www.example", "A", "203.0.113.66")]), to);
  await upstream.send(answerTo(query, [record("www.example", "A", "192.0.2.1")]), to);
  assertEquals((await answer).data, ["192.0.2.1"]);
});

Deno.test("the next upstream is asked when one is silent or helpless, three times in all", async () => {
  await using first = await FakeUpstream.start(UPSTREAMS[0], silent);
  await using second = await FakeUpstream.start(UPSTREAMS[1], says(Rcode.REFUSED));
  await using third = await FakeUpstream.start(UPSTREAMS[2], gives("192.0.2.3"));
  const upstreams = [first, second, third].map(({ endpoint }) => endpoint);
  await using resolver = await start({ upstreams, limits: { ...long, ...short } });
  await using udp = await UdpClient.open(resolver.udp);
  assertEquals((await udp.ask("www.example", "A")).data, ["192.0.2.3"]);
  assertEquals([first, second, third].map(({ queries }) => queries.length), [1, 1, 1]);
});

Deno.test("SERVFAIL when nobody answers; what a helpless upstream said, when that is all", async () => {
  await using first = await FakeUpstream.start(UPSTREAMS[0], silent);
  await using second = await FakeUpstream.start(UPSTREAMS[1], says(Rcode.REFUSED));
  {
    await using resolver = await start({ upstreams: [first.endpoint], limits: short });
    await using udp = await UdpClient.open(resolver.udp);
    assertEquals((await udp.ask("www.example", "A")).rcode, Rcode.SERVFAIL);
    assertEquals(first.queries.length, 3);
  }
  await using resolver = await start({ upstreams: [second.endpoint], limits: long });
  await using udp = await UdpClient.open(resolver.udp);
  assertEquals((await udp.ask("www.example", "A")).rcode, Rcode.REFUSED);
  assertEquals(second.queries.length, 1);
});

Deno.test("a name that does not exist elsewhere is an answer: nobody else is asked", async () => {
  await using first = await FakeUpstream.start(UPSTREAMS[0], says(Rcode.NXDOMAIN));
  await using second = await FakeUpstream.start(UPSTREAMS[1], gives("192.0.2.1"));
  await using resolver = await start({ upstreams: [first.endpoint, second.endpoint] });
  await using udp = await UdpClient.open(resolver.udp);
  assertEquals((await udp.ask("www.example", "A")).rcode, Rcode.NXDOMAIN);
  assertEquals(second.queries.length, 0);
});

Deno.test("a truncated answer goes on to a UDP client, and is fetched over TCP for a TCP client", async () => {
  const many = Array.from({ length: 160 }, (_, i) => record("www.example", "A", `192.0.2.${i}`));
  await using upstream = await FakeUpstream.start(
    UPSTREAMS[0],
    (query, tcp) => [tcp ? answerTo(query, many) : answerTo(query, many.slice(0, 2), TC)],
  );
  await using resolver = await start({ upstreams: [upstream.endpoint] });
  await using udp = await UdpClient.open(resolver.udp);
  const cut = await udp.ask("www.example", "A");
  assertEquals([cut.truncated, cut.data], [true, ["192.0.2.0", "192.0.2.1"]]);
  assertEquals(upstream.queries.map(({ tcp }) => tcp), [false]);
  using tcp = await connectTcp(resolver.tcp);
  const whole = await askTcp(tcp, queryBytes("www.example", "A"));
  assertEquals([whole?.truncated, whole?.data.length, whole?.id], [false, 160, 0x1234]);
  assert(whole!.bytes.length > 4096);
  assertEquals(upstream.queries.map(({ tcp }) => tcp), [false, false, true]);
});

Deno.test("SERVFAIL over TCP when the upstream truncates and its TCP says nothing or hangs up", async () => {
  await using upstream = await FakeUpstream.start(
    UPSTREAMS[0],
    (query, tcp) => tcp ? [] : [answerTo(query, [], TC)],
  );
  await using resolver = await start({ upstreams: [upstream.endpoint], limits: { ...long, ...short } });
  using tcp = await connectTcp(resolver.tcp);
  assertEquals((await askTcp(tcp, queryBytes("www.example", "A")))?.rcode, Rcode.SERVFAIL);
});

Deno.test("an upstream's answer longer than the client takes becomes a truncated one", async () => {
  const many = Array.from({ length: 40 }, (_, i) => record("www.example", "A", `192.0.2.${i}`));
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], (query) => [answerTo(query, many)]);
  await using resolver = await start({ upstreams: [upstream.endpoint] });
  await using udp = await UdpClient.open(resolver.udp);
  const cut = await udp.ask("www.example", "A");
  assertEquals([cut.truncated, cut.rcode, cut.data.length], [true, 0, 0]);
  assertEquals((await udp.ask("www.example", "A", { edns: 4096 })).data.length, 40);
});

Deno.test("answers of 4 KiB: over UDP to who takes them, cut to 512 bytes for others, over TCP to anyone", async () => {
  // The name makes a record 23 bytes: 176 of them, header, question and OPT are 4,090.
  await using resolver = await start({ zone: crowd("s.local", 176).zone });
  await using udp = await UdpClient.open(resolver.udp);
  using tcp = await connectTcp(resolver.tcp);
  const all = await udp.ask("s.local", "A", { edns: 4096 });
  assertEquals([all.truncated, all.data.length, all.bytes.length], [false, 176, 4084]);
  const cut = await udp.ask("s.local", "A");
  assert(cut.truncated && cut.bytes.length <= 512 && cut.data.length > 15);
  const small = await udp.ask("s.local", "A", { edns: 1232 });
  assert(small.truncated && small.bytes.length <= 1232 && small.data.length > 45);
  const whole = await askTcp(tcp, queryBytes("s.local", "A"));
  assertEquals([whole?.truncated, whole?.data.length], [false, 176]);
});

Deno.test("an answer that no message can hold is cut over TCP too", async () => {
  await using resolver = await start({ zone: crowd("s.local", 4000).zone });
  using tcp = await connectTcp(resolver.tcp);
  const answer = await askTcp(tcp, queryBytes("s.local", "A"));
  assert(answer?.truncated && answer.bytes.length > 65_000);
});

Deno.test("malformed datagrams are answered or dropped, and the resolver goes on", async () => {
  const directory = new FakeDirectory();
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], says(Rcode.NXDOMAIN));
  await using resolver = await start({ zone: directory.zone, upstreams: [upstream.endpoint] });
  await using udp = await UdpClient.open(resolver.udp);
  const header = (flags: number, questions: number): number[] => [7, 7, flags, 0, 0, questions, 0, 0, 0, 0, 0, 0];
  const cases: [number[], number][] = [
    [[7, 7, 1, 0], Rcode.FORMERR],
    [header(1, 0), Rcode.FORMERR],
    [[...header(1, 1), 0xc0, 12, 0, 1, 0, 1], Rcode.FORMERR],
    [[...header(1, 1), 3, 0x77], Rcode.FORMERR],
    [header(0x10, 0), Rcode.NOTIMP],
  ];
  for (const [bytes, rcode] of cases) {
    const answer = await udp.exchange(Uint8Array.from(bytes));
    assertEquals([answer.id, answer.rcode, answer.type], [0x0707, rcode, "response"]);
  }
  // Dropped: no answer comes between these and the next query's.
  await udp.send(Uint8Array.from(header(0x81, 0)));
  await udp.send(new Uint8Array(0));
  await udp.send(Uint8Array.from([1]));
  assertEquals((await udp.ask("web", "A", { id: 99 })).id, 99);

  // Whatever comes back for any bytes is an answer with an id that was sent.
  const ids = new Set<number>();
  await using noisy = await UdpClient.open(resolver.udp);
  await asyncProperty(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      if (bytes.length > 3) ids.add(bytes[0]! << 8 | bytes[1]!);
      await noisy.send(bytes);
      assertEquals((await udp.ask("web", "A")).data, ["10.77.0.10"]);
    }),
    300,
  );
  const last = queryBytes("db", "A", { id: 0xd00d });
  await noisy.send(last);
  for (;;) {
    const answer = await noisy.receive();
    const { id, type, data } = decode(answer);
    assertEquals(type, "response");
    if (id === 0xd00d && data.length === 1) break;
    assert(ids.has(id), `an answer to nothing: ${id}`);
  }
});

Deno.test("beyond the limit of forwarded queries the answer is SERVFAIL, and other names go on", async () => {
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], silent);
  await using resolver = await start({ upstreams: [upstream.endpoint], limits: { ...long, forwarded: 4 } });
  await using udp = await UdpClient.open(resolver.udp);
  for (let i = 0; i < 4; i++) await udp.send(queryBytes(`n${i}.example`, "A", { id: i }));
  await until("four queries are at the upstream", () => upstream.queries.length === 4);
  const fifth = await udp.ask("n5.example", "A", { id: 5 });
  assertEquals([fifth.id, fifth.rcode], [5, Rcode.SERVFAIL]);
  assertEquals((await udp.ask("web", "A")).data, ["10.77.0.10"]);
  // One is answered, so that another may go.
  const { query, port } = upstream.queries[0]!;
  await upstream.send(answerTo(query, []), { address: parseAddress("127.0.0.1"), port });
  assertEquals(decode(await udp.receive()).rcode, Rcode.NOERROR);
  await udp.send(queryBytes("n6.example", "A"));
  await until("another is at the upstream", () => upstream.queries.length === 5);
});

Deno.test("TCP: many queries on one connection, sent at once and in pieces", async () => {
  await using resolver = await start();
  using tcp = await connectTcp(resolver.tcp);
  const queries = ["web", "db", "nobody.csvn"].map((name, id) => queryBytes(name, "A", { id }));
  const stream = Uint8Array.from(queries.flatMap((bytes) => [0, bytes.length, ...bytes]));
  await tcp.connection.write(stream);
  for (let id = 0; id < 3; id++) assertEquals(decode((await tcp.read(65_535))!).id, id);
  for (const byte of stream) await tcp.connection.write(Uint8Array.of(byte));
  for (let id = 0; id < 3; id++) assertEquals(decode((await tcp.read(65_535))!).id, id);
});

Deno.test("TCP: a client that has finished writing gets its answer", async () => {
  await using resolver = await start();
  using tcp = await connectTcp(resolver.tcp);
  await tcp.write(queryBytes("web", "A"));
  await (tcp.connection as Deno.TcpConn).closeWrite();
  assertEquals(decode((await tcp.read(65_535))!).data, ["10.77.0.10"]);
  assertEquals(await tcp.read(65_535), undefined);
});

Deno.test("TCP: malformed messages are answered, too long ones end the connection", async () => {
  await using resolver = await start();
  using tcp = await connectTcp(resolver.tcp);
  assertEquals((await askTcp(tcp, Uint8Array.of(7, 7, 1, 0)))?.rcode, Rcode.FORMERR);
  await tcp.write(Uint8Array.of(1));
  await tcp.write(new Uint8Array(0));
  assertEquals((await askTcp(tcp, queryBytes("web", "A")))?.data, ["10.77.0.10"]);
  await tcp.connection.write(Uint8Array.of(0xff, 0xff, 1, 2, 3));
  assertEquals(await tcp.read(65_535), undefined);
});

Deno.test("TCP: an idle client, one in the middle of a message, and one that takes nothing are cut", async () => {
  await using resolver = await start({ zone: crowd("s.local", 2500).zone, limits: { clientMs: 100 } });
  using idle = await connectTcp(resolver.tcp);
  using slow = await connectTcp(resolver.tcp);
  using deaf = await connectTcp(resolver.tcp);
  await slow.connection.write(Uint8Array.of(0, 40, 1));
  assertEquals(await idle.read(65_535), undefined);
  assertEquals(await slow.read(65_535), undefined);
  // It asks for 57 KiB again and again, and reads nothing, until it cannot write any more.
  const query = queryBytes("s.local", "A");
  for (let n = 0; await deaf.write(query); n++) assert(n < 1_000_000);
});

Deno.test("TCP: connections beyond the limit are closed, and there is room when one has gone", async () => {
  await using resolver = await start({ limits: { ...long, connections: 2 } });
  using first = await connectTcp(resolver.tcp);
  using second = await connectTcp(resolver.tcp);
  const web = queryBytes("web", "A");
  for (const tcp of [first, second]) assertEquals((await askTcp(tcp, web))?.rcode, 0);
  using third = await connectTcp(resolver.tcp);
  assertEquals(await third.read(65_535), undefined);
  first[Symbol.dispose]();
  for (;;) {
    using next = await connectTcp(resolver.tcp);
    if (await askTcp(next, web)) break;
    await delay(1);
  }
  assertEquals((await askTcp(second, web))?.rcode, 0);
});

Deno.test("onAnswer is told of each answer with records before the client has it, and may fail", async () => {
  const told: string[] = [];
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], (query) => [
    answerTo(query, [
      record(query.questions[0]!.name, "CNAME", "real.example", 9),
      record("real.example", "A", "192.0.2.1", 30),
      record("unasked.example", "A", "203.0.113.66"),
    ]),
  ]);
  await using resolver = await start({
    upstreams: [upstream.endpoint],
    onAnswer: (name, type, records, ttl) => {
      told.push([name, type, ...records.map((each) => typeof each === "string" ? each : each.text), ttl].join(" "));
      throw new Error("a hook that fails");
    },
  });
  await using udp = await UdpClient.open(resolver.udp);
  const asked = [["WEB.csvn", "A"], ["db", "AAAA"], ["10.0.77.10.in-addr.arpa", "PTR"], ["Www.Example", "A"]] as const;
  for (const [name, type] of [...asked, ["nobody.csvn", "A"], ["www.example", "TXT"]] as const) {
    assertEquals((await udp.ask(name, type)).rcode, name === "nobody.csvn" ? Rcode.NXDOMAIN : Rcode.NOERROR);
  }
  assertEquals(told, [
    "web.csvn A 10.77.0.10 5",
    "db AAAA fd77:6373:766e::11 5",
    "10.0.77.10.in-addr.arpa PTR web.csvn 5",
    "www.example A 192.0.2.1 9",
  ]);
});

Deno.test("a zone that fails is a SERVFAIL, not the resolver's end", async () => {
  const zone = {
    lookup(): undefined {
      throw new Error("a zone that fails");
    },
  };
  await using resolver = await start({ zone });
  await using udp = await UdpClient.open(resolver.udp);
  assertEquals((await udp.ask("web", "A")).rcode, Rcode.SERVFAIL);
});

Deno.test("disposing ends what is under way and gives the ports back", async () => {
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], (query, tcp) => tcp ? [] : [answerTo(query, [], TC)]);
  await using mute = await FakeUpstream.start(UPSTREAMS[1], silent);
  const resolver = await start({ upstreams: [upstream.endpoint, mute.endpoint] });
  await using udp = await UdpClient.open(resolver.udp);
  using tcp = await connectTcp(resolver.tcp);
  using idle = await connectTcp(resolver.tcp);
  assertNotEquals(resolver.udp.port, 0);
  await tcp.write(queryBytes("over.tcp.example", "A"));
  await until("it is asked over TCP", () => upstream.queries.some(({ tcp }) => tcp));
  await resolver[Symbol.asyncDispose]();
  await resolver[Symbol.asyncDispose]();
  assertEquals(await tcp.read(65_535), undefined);
  assertEquals(await idle.read(65_535), undefined);
  await assertRejects(() => connectTcp(resolver.tcp), Deno.errors.ConnectionRefused);
  assert(udp);
});

Deno.test("an address that is none of this machine's cannot be listened on, and nothing is left", async () => {
  await assertRejects(() => start({ hostname: "203.0.113.7" }));
});
