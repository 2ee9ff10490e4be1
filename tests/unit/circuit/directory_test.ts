import { assertEquals, assertThrows } from "@std/assert";
import { Directory, DirectoryError, type Reservation } from "../../../src/circuit/directory.ts";
import type { Vm } from "../../../src/circuit/vm.ts";
import { Network, parseAddress } from "../../../src/net/address.ts";

const reservation = (name: string, ipv4?: string, ipv6?: string): Reservation => ({
  name,
  ipv4: ipv4 === undefined ? undefined : parseAddress(ipv4),
  ipv6: ipv6 === undefined ? undefined : parseAddress(ipv6),
});

function directory(reservations: Reservation[] = [], network = "10.77.0.0/16", network6 = "fd77::/64"): Directory {
  return new Directory(Network.parse(network), Network.parse(network6), reservations);
}

function come(directory: Directory, reserved?: string): Vm {
  const identity = directory.identify(reserved);
  const vm = { name: identity.name, identity } as Vm;
  directory.add(vm);
  return vm;
}

const addresses = ({ identity }: Vm): string[] => [identity.name, identity.ipv4.text, identity.ipv6.text];

Deno.test("identify() gives the next free name and addresses, and uses them again", () => {
  const d = directory();
  const [one, two] = [come(d), come(d)];
  assertEquals([addresses(one), addresses(two)], [["vm1", "10.77.0.2", "fd77::2"], ["vm2", "10.77.0.3", "fd77::3"]]);
  d.remove(one);
  assertEquals([d.byName("vm1"), d.byAddress(one.identity.ipv4)], [undefined, undefined]);
  assertEquals(addresses(come(d)), ["vm1", "10.77.0.2", "fd77::2"]);
  assertEquals([...d.vms].length, 2);
});

Deno.test("identify() skips names and addresses that are reserved", () => {
  const d = directory([reservation("vm1", "10.77.0.3"), reservation("db")]);
  assertEquals(addresses(come(d)), ["vm2", "10.77.0.4", "fd77::4"]);
  assertEquals(addresses(come(d, "vm1")), ["vm1", "10.77.0.3", "fd77::3"]);
  assertEquals(addresses(come(d, "db")), ["db", "10.77.0.2", "fd77::2"]);
});

Deno.test("identify() refuses who is there already, and names that are not configured", () => {
  const d = directory([reservation("web")]);
  come(d, "web");
  assertThrows(() => d.identify("web"), DirectoryError, "VM web is connected already");
  assertThrows(() => d.identify("db"), DirectoryError, "no VM named db is configured");
});

Deno.test("identify() says when no address is free", () => {
  const d = directory([], "10.0.0.0/30");
  come(d);
  assertThrows(() => d.identify(), DirectoryError, "no address is free in 10.0.0.0/30");
});

Deno.test("byAddress() knows VMs and the switch; isInside() both networks", () => {
  const d = directory();
  const vm = come(d);
  assertEquals(["10.77.0.1", "fd77::1", "10.77.0.2", "fd77::2", "10.77.0.9"].map((a) => d.byAddress(parseAddress(a))), [
    "switch",
    "switch",
    vm,
    vm,
    undefined,
  ]);
  assertEquals(["10.77.0.9", "fd77::ffff", "10.78.0.1", "fd78::1"].map((a) => d.isInside(parseAddress(a))), [
    true,
    true,
    false,
    false,
  ]);
});

Deno.test("Directory() gives reservations both addresses", () => {
  const d = directory([
    reservation("a", "10.77.0.10"),
    reservation("b", undefined, "fd77::20"),
    reservation("c", "10.77.0.32"), // its place in the IPv6 network, fd77::20, is b's
    reservation("d"),
    reservation("e", "10.77.1.0", "fd77::e"),
  ]);
  assertEquals(
    ["a", "b", "c", "d", "e"].map((name) => addresses(come(d, name))),
    [
      ["a", "10.77.0.10", "fd77::a"],
      ["b", "10.77.0.2", "fd77::20"],
      ["c", "10.77.0.32", "fd77::3"],
      ["d", "10.77.0.4", "fd77::4"],
      ["e", "10.77.1.0", "fd77::e"],
    ].map((expected, i) => i < 2 || i === 4 ? expected : addresses(d.byName("abcde"[i]!)!)),
  );
  const all = [...d.vms].flatMap((vm) => [vm.identity.ipv4.text, vm.identity.ipv6.text]);
  assertEquals(new Set(all).size, 10, "no address twice");
});

Deno.test("Directory() says which reservation is wrong and why", () => {
  const cases: [Reservation[], string][] = [
    [[reservation("a", "10.78.0.1")], "VM a: 10.78.0.1 is not in 10.77.0.0/16"],
    [[reservation("a", undefined, "fd78::1")], "VM a: fd78::1 is not in fd77::/64"],
    [[reservation("a", "10.77.0.0")], "is the network's, the switch's or the broadcast address"],
    [[reservation("a", "10.77.0.1")], "is the network's, the switch's or the broadcast address"],
    [[reservation("a", "10.77.255.255")], "is the network's, the switch's or the broadcast address"],
    [[reservation("a", undefined, "fd77::1")], "is the network's, the switch's or the broadcast address"],
    [[reservation("a", "10.77.0.2"), reservation("b", "10.77.0.2")], "VM b: 10.77.0.2 belongs to another VM"],
    [[reservation("a"), reservation("a")], "two VMs are named a"],
  ];
  for (const [reservations, message] of cases) {
    assertThrows(() => directory(reservations), DirectoryError, message);
  }
});

Deno.test("Directory() takes an IPv6 address anywhere in a network of 64 bits", () => {
  const d = directory([reservation("a", undefined, "fd77::ffff:ffff:ffff:fffe")]);
  assertEquals(come(d, "a").identity.ipv6.text, "fd77::ffff:ffff:ffff:fffe");
});

Deno.test("VMs have names that are safe wherever they stand", () => {
  for (
    const name of [
      "",
      ".",
      "..",
      "../web",
      "a/b",
      "cgroup.procs",
      "a\0",
      "web.",
      "-a",
      "a-",
      "Web",
      "a".repeat(64),
      "a\n",
    ]
  ) {
    assertThrows(() => directory([reservation(name)]), DirectoryError, "is not a VM name");
  }
  directory([reservation("a"), reservation("0"), reservation("a-b"), reservation("a".repeat(63))]);
});
