import { assertEquals } from "@std/assert";
import { reverseName } from "../../../src/dns/reverse.ts";
import type { ZoneType } from "../../../src/dns/zone.ts";
import { Network, parseAddress } from "../../../src/net/address.ts";
import { FakeDirectory, vm } from "../../support/dns.ts";

/** What the zone says, in short: the records as text, or the kind of answer. */
function look(directory: FakeDirectory, name: string, type: ZoneType): string | undefined {
  const answer = directory.zone.lookup(name, type);
  if (answer?.kind !== "records") return answer?.kind;
  return answer.records.map((record) => typeof record === "string" ? record : record.text).join(" ");
}

function check(directory: FakeDirectory, cases: readonly (readonly [string, ZoneType, string | undefined])[]): void {
  for (const [name, type, expected] of cases) {
    assertEquals([name, type, look(directory, name, type)], [name, type, expected]);
  }
}

Deno.test("lookup() finds VMs by name, with and without the domain, in any case", () => {
  check(new FakeDirectory(), [
    ["web", "A", "10.77.0.10"],
    ["web.csvn", "A", "10.77.0.10"],
    ["WEB.csvN.", "AAAA", "fd77:6373:766e::10"],
    ["db", "AAAA", "fd77:6373:766e::11"],
    ["web", "PTR", "no-data"],
  ]);
});

Deno.test("lookup() says of other names under csvn that there are none, and leaves the rest to others", () => {
  check(new FakeDirectory(), [
    ["nobody.csvn", "A", "no-such-name"],
    ["a.web.csvn", "A", "no-such-name"],
    ["w\\.eb.csvn", "A", "no-such-name"],
    ["csvn", "A", "no-data"],
    ["nobody", "A", undefined],
    ["web.example", "A", undefined],
    ["web.csvn.example", "A", undefined],
    [".", "A", undefined],
    ["", "A", undefined],
  ]);
});

Deno.test("lookup() follows VMs that come and go", () => {
  const directory = new FakeDirectory();
  directory.list.shift();
  directory.list.push(vm("new", 12));
  check(directory, [
    ["web.csvn", "A", "no-such-name"],
    ["web", "A", undefined],
    ["new", "A", "10.77.0.12"],
    ["10.0.77.10.in-addr.arpa", "PTR", "no-such-name"],
  ]);
});

Deno.test("lookup() gives the gateway's addresses for host and gateway, whatever VMs are called", () => {
  const directory = new FakeDirectory();
  directory.list.push(vm("host", 12), vm("gateway", 13));
  check(directory, [
    ["host.csvn", "A", "10.77.0.1"],
    ["gateway.csvn", "AAAA", "fd77:6373:766e::1"],
    ["host", "A", "10.77.0.12"],
  ]);
});

Deno.test("lookup() leads services to VMs and addresses, each once", () => {
  const directory = new FakeDirectory();
  directory.services.set("API.internal.example", ["web", "DB", "gone", parseAddress("10.77.0.10")]);
  directory.services.set("cache.prod.csvn", [parseAddress("192.0.2.5")]);
  directory.services.set("db", ["web"]);
  directory.services.set("empty", ["gone"]);
  check(directory, [
    ["api.internal.example", "A", "10.77.0.10 10.77.0.11"],
    ["api.Internal.example", "AAAA", "fd77:6373:766e::10 fd77:6373:766e::11"],
    ["internal.example", "A", undefined],
    ["cache.prod.csvn", "A", "192.0.2.5"],
    ["cache.prod.csvn", "AAAA", "no-data"],
    ["prod.csvn", "A", "no-data"],
    ["prod", "A", undefined],
    ["db", "A", "10.77.0.10"],
    ["db.csvn", "A", "10.77.0.11"],
    ["empty", "A", "no-data"],
    ["5.2.0.192.in-addr.arpa", "PTR", "cache.prod.csvn"],
    ["10.0.77.10.in-addr.arpa", "PTR", "web.csvn"],
  ]);
});

Deno.test("lookup() answers reverse names inside the networks, and no others", () => {
  const directory = new FakeDirectory();
  const web6 = reverseName(vm("web", 10).ipv6);
  check(directory, [
    ["10.0.77.10.in-addr.arpa", "PTR", "web.csvn"],
    ["10.0.77.10.IN-ADDR.ARPA.", "PTR", "web.csvn"],
    [web6, "PTR", "web.csvn"],
    ["1.0.77.10.in-addr.arpa", "PTR", "gateway.csvn"],
    [reverseName(directory.gateway6), "PTR", "gateway.csvn"],
    ["10.0.77.10.in-addr.arpa", "A", "no-data"],
    ["99.0.77.10.in-addr.arpa", "PTR", "no-such-name"],
    ["9.10.0.77.10.in-addr.arpa", "PTR", "no-such-name"],
    ["x.77.10.in-addr.arpa", "PTR", "no-such-name"],
    ["0.77.10.in-addr.arpa", "PTR", "no-data"],
    ["3.77.10.in-addr.arpa", "PTR", "no-such-name"],
    ["77.10.in-addr.arpa", "PTR", "no-data"],
    ["10.in-addr.arpa", "PTR", undefined],
    ["10.0.78.10.in-addr.arpa", "PTR", undefined],
    ["8.8.8.8.in-addr.arpa", "PTR", undefined],
    [web6.slice(2), "PTR", "no-data"],
    [reverseName(parseAddress("2001:db8::1")), "PTR", undefined],
  ]);
});

Deno.test("lookup() takes networks whose prefix ends inside a label", () => {
  const directory = new FakeDirectory(Network.parse("10.77.16.0/20"));
  check(directory, [
    ["5.17.77.10.in-addr.arpa", "PTR", "no-such-name"],
    ["5.32.77.10.in-addr.arpa", "PTR", undefined],
    ["77.10.in-addr.arpa", "PTR", undefined],
  ]);
});

Deno.test("lookup() leaves names of larger networks than ours to others", () => {
  check(new FakeDirectory(Network.parse("10.0.0.0/16")), [
    ["10.in-addr.arpa", "PTR", undefined],
    ["x.10.in-addr.arpa", "PTR", undefined],
    ["0.10.in-addr.arpa", "PTR", "no-data"],
  ]);
});

Deno.test("lookup() tells where the zone of what is not there begins", () => {
  const { zone } = new FakeDirectory();
  const apex = (name: string): string | undefined => {
    const answer = zone.lookup(name, "PTR");
    return answer && answer.kind !== "records" ? answer.apex : undefined;
  };
  assertEquals(apex("nobody.csvn"), "csvn");
  assertEquals(apex("web.csvn"), "csvn");
  assertEquals(apex("web"), "web");
  assertEquals(apex("99.0.77.10.in-addr.arpa"), "77.10.in-addr.arpa");
});
