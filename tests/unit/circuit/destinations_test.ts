import { assertEquals, assertThrows } from "@std/assert";
import { Destinations } from "../../../src/circuit/destinations.ts";
import { Directory, DirectoryError } from "../../../src/circuit/directory.ts";
import { Forbidden } from "../../../src/circuit/forbidden.ts";
import type { Vm } from "../../../src/circuit/vm.ts";
import { type Endpoint, formatEndpoint, Network, parseAddress } from "../../../src/net/address.ts";
import { Cidr } from "../../../src/net/cidr.ts";

const endpoint = (address: string, port: number): Endpoint => ({ address: parseAddress(address), port });
const [GATEWAY4, GATEWAY6] = ["10.77.0.1", "fd77::1"] as const;

/** Where connections lead: an endpoint of the host's stack, or why nowhere. */
function destinations(opened: readonly Endpoint[], forbid: readonly string[] = []): (a: string, p: number) => string {
  const directory = new Directory(Network.parse("10.77.0.0/16"), Network.parse("fd77::/64"));
  const forbidden = new Forbidden(forbid.map((text) => Cidr.parse(text)));
  const made = new Destinations(directory, true, opened, () => undefined, forbidden);
  return (address, port) => {
    const found = made.of({} as Vm, "tcp", endpoint(address, port));
    return found.kind === "host" ? formatEndpoint(found.actual) : found.kind === "none" ? found.reason : "a VM";
  };
}

Deno.test("ports of the host that are opened are reached at their own address, and at the switch's of their family", () => {
  const of = destinations([
    endpoint("127.0.0.1", 80),
    endpoint("::1", 80),
    endpoint("127.0.0.2", 81),
    endpoint("::1", 82),
  ]);
  assertEquals(
    [of("127.0.0.1", 80), of("::1", 80), of(GATEWAY4, 80), of(GATEWAY6, 80)],
    ["127.0.0.1:80", "[::1]:80", "127.0.0.1:80", "[::1]:80"],
  );
  assertEquals([of(GATEWAY4, 81), of(GATEWAY6, 81)], ["127.0.0.2:81", "127.0.0.2:81"], "the only one");
  assertEquals([of(GATEWAY4, 82), of(GATEWAY6, 82)], ["[::1]:82", "[::1]:82"]);
  assertEquals(of(GATEWAY4, 83), "the switch offers nothing there");
  assertEquals(of("127.0.0.2", 80), "guests must not reach 127.0.0.2:80: the host's loopback", "another port there");
});

Deno.test("a port that is opened at an IPv4-mapped address is reached at the IPv4 one", () => {
  const of = destinations([endpoint("::ffff:127.0.0.1", 80)]);
  assertEquals([of("127.0.0.1", 80), of(GATEWAY4, 80)], ["127.0.0.1:80", "127.0.0.1:80"]);
});

Deno.test("two ports that would be one at the switch's address are refused; the same one twice is not", () => {
  const two = [endpoint("127.0.0.1", 80), endpoint("192.0.2.1", 80)];
  assertThrows(() => destinations(two), DirectoryError, "127.0.0.1:80 and 192.0.2.1:80 are both opened to VMs");
  assertEquals(destinations([two[0]!, endpoint("127.0.0.1", 80)])(GATEWAY4, 80), "127.0.0.1:80");
});

Deno.test("what is opened by name is reached, whatever is forbidden", () => {
  const of = destinations([endpoint("192.0.2.1", 443)], ["192.0.2.0/24"]);
  assertEquals(of("192.0.2.1", 443), "192.0.2.1:443");
  assertEquals(
    [of("192.0.2.1", 80), of("192.0.2.2", 443), of("198.51.100.1", 443)],
    [
      "guests must not reach 192.0.2.1:80: 192.0.2.0/24 is forbidden by configuration",
      "guests must not reach 192.0.2.2:443: 192.0.2.0/24 is forbidden by configuration",
      "198.51.100.1:443",
    ],
  );
});
