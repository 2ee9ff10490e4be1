/**
 * Forwarded queries over time: upstreams that are slow, clients that ask again, names that policy hides, resolvers that change.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { Rcode } from "../../src/dns/message.ts";
import { Resolver, type ResolverOptions } from "../../src/dns/resolver.ts";
import { fixedUpstreams } from "../../src/dns/upstreams.ts";
import { HostUpstreams } from "../../src/host/host_upstreams.ts";
import { type Endpoint, formatEndpoint, parseAddress } from "../../src/net/address.ts";
import {
  answerTo,
  askTcp,
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
import { FakeClock } from "../support/fake_clock.ts";
import { until } from "../support/until.ts";

const TC = 0x200;
const long = { tryMs: 60_000, answerMs: 60_000, clientMs: 60_000 };

function start(upstreams: readonly Endpoint[], options: Partial<ResolverOptions> = {}): Promise<Resolver> {
  return Resolver.start({
    zone: new FakeDirectory().zone,
    upstreams: fixedUpstreams(upstreams),
    hostname: RESOLVER,
    limits: long,
    ...options,
  });
}

/** Answer a query that an upstream has, as it came. */
function give(upstream: FakeUpstream, n: number, address: string): Promise<void> {
  const { query, port } = upstream.queries[n]!;
  const to = { address: parseAddress("127.0.0.1"), port };
  return upstream.send(answerTo(query, [record(query.questions[0]!.name, "A", address)]), to);
}

Deno.test("an upstream that takes longer than a try answers all the same: a late answer to an earlier try counts", async () => {
  await using first = await FakeUpstream.start(UPSTREAMS[0], () => []);
  await using second = await FakeUpstream.start(UPSTREAMS[1], () => []);
  await using resolver = await start([first.endpoint, second.endpoint], { limits: { ...long, tryMs: 20 } });
  await using udp = await UdpClient.open(resolver.udp);
  const answer = udp.ask("www.example", "A");
  await until("all tries", () => first.queries.length === 2 && second.queries.length === 1);
  await give(first, 0, "192.0.2.1");
  assertEquals((await answer).data, ["192.0.2.1"]);
  assertEquals(
    new Set([...first.queries, ...second.queries].map(({ port }) => port)).size,
    1,
    "one socket for all tries",
  );
});

Deno.test("equal questions share one query, and each asker is told, under its own id", async () => {
  const told: string[] = [];
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], () => []);
  await using resolver = await start([upstream.endpoint], {
    onAnswer: (name, type) => void told.push(`${name} ${type}`),
  });
  await using one = await UdpClient.open(resolver.udp);
  await using two = await UdpClient.open(resolver.udp);
  await one.send(queryBytes("www.example", "A", { id: 1 }));
  await until("it", () => upstream.queries.length === 1);
  await one.send(queryBytes("www.example", "A", { id: 2 }));
  await two.send(queryBytes("www.example", "A", { id: 3 }));
  // Others are not equal: in type, in letters, in what the client takes.
  for (
    const [name, type, edns] of [["www.example", "AAAA"], ["WWW.example", "A"], ["www.example", "A", 1232]] as const
  ) {
    await two.send(queryBytes(name, type, { id: 4, ...(edns && { edns }) }));
  }
  await until("the others", () => upstream.queries.length === 4);
  await give(upstream, 0, "192.0.2.1");
  const got = [decode(await one.receive()), decode(await one.receive()), decode(await two.receive())];
  assertEquals(got.map(({ id, data }) => [id, data]).sort(), [1, 2, 3].map((id) => [id, ["192.0.2.1"]]));
  assertEquals(told, Array(3).fill("www.example A"));
  await one.send(queryBytes("www.example", "A"));
  await until("it is asked anew", () => upstream.queries.length === 5);
});

Deno.test("beyond the limit of askers the answer is SERVFAIL", async () => {
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], () => []);
  await using resolver = await start([upstream.endpoint], { limits: { ...long, askers: 2 } });
  await using udp = await UdpClient.open(resolver.udp);
  for (let id = 1; id <= 2; id++) await udp.send(queryBytes("www.example", "A", { id }));
  const third = await udp.ask("www.example", "A", { id: 3 });
  assertEquals([third.id, third.rcode], [3, Rcode.SERVFAIL]);
  await until("the query is at the upstream", () => upstream.queries.length === 1);
  await give(upstream, 0, "192.0.2.1");
  assertEquals([decode(await udp.receive()).id, decode(await udp.receive()).id].sort(), [1, 2]);
});

Deno.test("a helpless upstream's answer, when another one comes late, is not the last word", async () => {
  await using first = await FakeUpstream.start(UPSTREAMS[0], () => []);
  await using second = await FakeUpstream.start(UPSTREAMS[1], (query) => [answerTo(query, [], Rcode.SERVFAIL)]);
  await using resolver = await start([first.endpoint, second.endpoint], { limits: { ...long, tryMs: 20 } });
  await using udp = await UdpClient.open(resolver.udp);
  const answer = udp.ask("www.example", "A");
  await until("all tries", () => first.queries.length === 2 && second.queries.length === 1);
  await give(first, 1, "192.0.2.1");
  assertEquals((await answer).data, ["192.0.2.1"]);
});

Deno.test("a TCP client's truncated answer is fetched from the upstream that truncated, once", async () => {
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], (query, tcp) => {
    const answer = answerTo(query, tcp ? [record("www.example", "A", "192.0.2.1")] : [], tcp ? 0 : TC);
    return tcp ? [answer] : [answer, answer];
  });
  await using resolver = await start([upstream.endpoint]);
  using tcp = await connectTcp(resolver.tcp);
  assertEquals((await askTcp(tcp, queryBytes("www.example", "A")))?.data, ["192.0.2.1"]);
  assertEquals(upstream.queries.map(({ tcp }) => tcp), [false, true]);
});

Deno.test("an answer that is fetched is waited for, for as long as any answer; who is asked for it is not asked again, others are", async () => {
  let answer = Promise.withResolvers<void>();
  await using first = await FakeUpstream.start(UPSTREAMS[0], async (query, tcp) => {
    if (tcp) await answer.promise;
    return [answerTo(query, tcp ? [record("www.example", "A", "192.0.2.1")] : [], tcp ? 0 : TC)];
  });
  await using silent = await FakeUpstream.start(UPSTREAMS[1], () => []);
  await using helpless = await FakeUpstream.start(UPSTREAMS[2], (query) => [answerTo(query, [], Rcode.REFUSED)]);
  using _ = { [Symbol.dispose]: () => answer.resolve() };
  const limits = { tryMs: 1_000, answerMs: 10_000, clientMs: 60_000 };
  for (const others of [[], [silent], [helpless], [helpless, silent]]) {
    for (const { queries } of [first, silent, helpless]) queries.length = 0;
    answer = Promise.withResolvers<void>();
    const clock = new FakeClock();
    const upstreams = [first, ...others].map(({ endpoint }) => endpoint);
    await using resolver = await start(upstreams, { limits, clock });
    using tcp = await connectTcp(resolver.tcp);
    let answered = false;
    const got = askTcp(tcp, queryBytes("www.example", "A")).finally(() => answered = true);
    await until("it is being fetched", () => first.queries.length === 2);
    for (const other of others) {
      await clock.pass(limits.tryMs);
      await until("the next one is asked", () => other.queries.length > 0);
    }
    for (let ms = clock.now(); ms < 9_000; ms += limits.tryMs) {
      await clock.pass(limits.tryMs);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assertEquals([answered, first.queries.map(({ tcp }) => tcp)], [false, [false, true]]);
    answer.resolve();
    assertEquals((await got)?.data, ["192.0.2.1"]);
  }
  // Not for ever.
  answer = Promise.withResolvers<void>();
  first.queries.length = 0;
  const clock = new FakeClock();
  await using resolver = await start([first.endpoint], { limits, clock });
  using tcp = await connectTcp(resolver.tcp);
  const got = askTcp(tcp, queryBytes("www.example", "A"));
  await until("it is being fetched", () => first.queries.length === 2);
  await clock.pass(limits.answerMs);
  assertEquals((await got)?.rcode, Rcode.SERVFAIL);
});

Deno.test("names that policy hides do not exist, for 0 seconds; nobody else hears of them, and the host is told", async () => {
  const hidden: string[] = [];
  await using upstream = await FakeUpstream.start(UPSTREAMS[0], (query) => [answerTo(query, [])]);
  await using resolver = await start([upstream.endpoint], {
    mayForward: (name) => name === "www.example" ? "yes" : name === "example" ? "below" : "no",
    onHidden: (name, type) => void hidden.push(`${name} ${type}`),
  });
  await using udp = await UdpClient.open(resolver.udp);
  for (
    const [name, type, rcode] of [
      ["Secret.Test", "A", Rcode.NXDOMAIN],
      ["example", "TXT", Rcode.NOERROR],
      [".", "NS", Rcode.NOERROR],
    ] as const
  ) {
    const answer = await udp.ask(name, type);
    assertEquals([answer.rcode, answer.data, answer.authoritative], [rcode, [], false]);
    const [soa] = answer.authorities;
    assertEquals([soa?.type, soa?.name, soa?.ttl, (soa?.data as { minimum: number }).minimum], ["SOA", ".", 0, 0]);
  }
  assertEquals([hidden, upstream.queries.length], [["secret.test A", "example TXT", ". NS"], 0]);
  assertEquals([(await udp.ask("www.example", "A")).rcode, upstream.queries.length], [Rcode.NOERROR, 1]);
});

Deno.test("the host's resolvers are followed: edited, replaced, linked elsewhere; those before are asked last until a new one answers", async () => {
  const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
  const path = `${directory}/resolv.conf`;
  const conf = (...servers: string[]): string => servers.map((server) => `nameserver ${server}\n`).join("");
  await Deno.writeTextFile(path, conf("192.0.2.1"));
  {
    await using upstreams = new HostUpstreams(path);
    await upstreams.ready();
    const now = (): string => upstreams.current.map(({ address }) => address.text).join(" ");
    const becomes = (text: string): Promise<true> => until(text, () => now() === text);
    const answered = (address: string): void => upstreams.answered({ address: parseAddress(address), port: 53 });
    assertEquals(now(), "192.0.2.1");
    // Edited in place.
    await Deno.writeTextFile(path, conf("192.0.2.2"));
    await becomes("192.0.2.2 192.0.2.1");
    answered("192.0.2.1");
    assertEquals(now(), "192.0.2.2 192.0.2.1", "the old one says nothing of the new one");
    answered("192.0.2.2");
    assertEquals(now(), "192.0.2.2");
    // Replaced, twice before any answers, and gone for a while.
    await Deno.writeTextFile(`${path}.new`, conf("192.0.2.3", "192.0.2.2"));
    await Deno.rename(`${path}.new`, path);
    await becomes("192.0.2.3 192.0.2.2");
    await Deno.remove(path);
    await until("they stay", () => now() === "192.0.2.3 192.0.2.2");
    // A link to another's file, which that one rewrites.
    await Deno.mkdir(`${directory}/run`);
    await Deno.writeTextFile(`${directory}/run/stub.conf`, conf("127.0.0.53"));
    await Deno.symlink("run/stub.conf", path);
    await becomes("127.0.0.53 192.0.2.3 192.0.2.2");
    answered("127.0.0.53");
    await Deno.writeTextFile(`${directory}/run/stub.new`, conf("127.0.0.54"));
    await Deno.rename(`${directory}/run/stub.new`, `${directory}/run/stub.conf`);
    await becomes("127.0.0.54 127.0.0.53");
    assertEquals(upstreams.current.map(formatEndpoint), ["127.0.0.54:53", "127.0.0.53:53"]);
  }
  await Deno.remove(directory, { recursive: true });
});
