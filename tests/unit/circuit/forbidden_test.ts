import { assertEquals, assertThrows } from "@std/assert";
import { Forbidden } from "../../../src/circuit/forbidden.ts";
import { AddressError, parseAddress } from "../../../src/net/address.ts";
import { Cidr } from "../../../src/net/cidr.ts";

Deno.test("Forbidden.why() tells why an address is not reached", () => {
  const forbidden = new Forbidden();
  const disguise = "an IPv4 address in disguise";
  const metadata = "a cloud's metadata address";
  const cases = [
    ["0.0.0.0", "this network (0.0.0.0/8)"],
    ["127.0.0.1", "the host's loopback"],
    ["127.255.255.255", "the host's loopback"],
    ["169.254.169.254", "link-local"],
    ["224.0.0.1", "multicast"],
    ["239.255.255.255", "multicast"],
    ["240.0.0.1", "reserved or broadcast"],
    ["255.255.255.255", "reserved or broadcast"],
    ["100.100.100.200", metadata],
    ["168.63.129.16", metadata],
    ["192.0.0.192", metadata],
    ["::", "the host's loopback"],
    ["::1", "the host's loopback"],
    ["fe80::1", "link-local"],
    ["ff02::1", "multicast"],
    ["fd00:ec2::254", metadata],
    ["fd00:ec2::23", metadata],
    ["fd20:ce::254", metadata],
    ["fd00:c1::a9fe:a9fe", metadata],
    ["fd00:42::42", metadata],
    ["fd00:a9fe:a9fe::1", metadata],
    ["fd00:100::100:200", metadata],
    ["::127.0.0.1", disguise],
    ["::a9fe:a9fe", disguise],
    ["::ffff:127.0.0.1", disguise],
    ["::ffff:0:127.0.0.1", disguise],
    ["64:ff9b::7f00:1", disguise],
    ["64:ff9b::a9fe:a9fe", disguise],
    ["64:ff9b:1::7f00:1", disguise],
    ["64:ff9b:1:7f00:0:100::", disguise],
    ["2002:7f00:1::", disguise],
    ["2001:0:1::1", disguise],
  ] as const;
  for (const [address, why] of cases) assertEquals([address, forbidden.why(parseAddress(address))], [address, why]);
});

Deno.test("Forbidden.why() lets everything else through, to its borders", () => {
  const forbidden = new Forbidden();
  const addresses = [
    "1.0.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "223.255.255.255",
    "10.0.0.1",
    "192.168.1.1",
    "100.100.100.199",
    "168.63.129.17",
    "::1:0:0:0",
    "64:ff9b:2::1",
    "64:ff9a:ffff::1",
    "2001:db8::1",
    "2001:1::1",
    "2003::1",
    "fd00:ec1::254",
    "fd20:ce::255",
    "fd00:42::43",
    "fec0::1",
    "2606:4700::1111",
  ];
  for (const address of addresses) assertEquals([address, forbidden.why(parseAddress(address))], [address, undefined]);
});

Deno.test("Forbidden.why() knows what the operator of the switch forbids as well", () => {
  const forbidden = new Forbidden([Cidr.parse("10.1.0.0/16"), Cidr.parse("2001:db8::/32")]);
  assertEquals(forbidden.why(parseAddress("10.1.2.3")), "10.1.0.0/16 is forbidden by configuration");
  assertEquals(forbidden.why(parseAddress("2001:db8::1")), "2001:db8::/32 is forbidden by configuration");
  assertEquals([forbidden.why(parseAddress("10.2.0.1")), forbidden.why(parseAddress("127.0.0.1"))], [
    undefined,
    "the host's loopback",
  ]);
});

Deno.test("Forbidden.why() takes IPv4-mapped ranges of the operator's for the IPv4 ones that they stand for", () => {
  const forbidden = new Forbidden([Cidr.parse("::ffff:10.0.0.0/104")]);
  assertEquals(forbidden.why(parseAddress("10.1.2.3")), "10.0.0.0/8 is forbidden by configuration");
  assertEquals(forbidden.why(parseAddress("11.1.2.3")), undefined);
  assertThrows(() => new Forbidden([Cidr.parse("::ffff:10.0.0.0/90")]), AddressError);
});
