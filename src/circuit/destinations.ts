/**
 * Where a connection to an address leads: to a VM, to something that the switch opens, out through the host's stack, or
 * nowhere.
 *
 * What a guest must not reach by the host's stack, unless it is opened by name: the host itself (loopback in all its forms),
 * link-local and cloud-metadata addresses, multicast and broadcast.
 *
 * @module
 */

import ipaddr from "ipaddr.js";
import { Errno } from "../errno.ts";
import { type Address, type Endpoint, formatEndpoint } from "../net/address.ts";
import type { Directory } from "./directory.ts";
import type { Protocol } from "./listener.ts";
import type { Vm } from "./vm.ts";

/** Where a connection leads. */
export type Destination =
  | { readonly kind: "vm"; readonly vm: Vm }
  /** To the host's stack: `actual` is where it really goes. */
  | { readonly kind: "host"; readonly actual: Endpoint }
  | { readonly kind: "none"; readonly errno: number; readonly reason: string };

/** Addresses at which clouds tell a machine its secrets, beyond the link-local ones. */
const metadata = ["fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"];

/** Why an address must not be reached by the host's stack; undefined: it may. */
export function forbidden(address: Address): string | undefined {
  if (metadata.includes(address.text)) return "a cloud's metadata address";
  if (address.family === 4 && address.bytes[0] === 0) return "this network (0.0.0.0/8)";
  if (address.family === 4 && address.bytes[0]! >= 240) return "reserved or broadcast";
  const range = ipaddr.fromByteArray([...address.bytes]).range() as string;
  switch (range) {
    case "unspecified":
    case "loopback":
      return "the host's loopback";
    case "linkLocal":
      return "link-local";
    case "multicast":
    case "broadcast":
      return range;
    // Other spellings of an IPv4 address: what they stand for cannot be seen from here.
    case "ipv4Mapped":
    case "rfc6145":
    case "rfc6052":
    case "6to4":
    case "teredo":
      return `an IPv4 address in disguise (${range})`;
    default:
      return undefined;
  }
}

/** Where a service that the switch itself offers to a VM really is; undefined: it offers nothing at that port. */
export type OwnServices = (vm: Vm, protocol: Protocol, port: number) => Endpoint | undefined;

/** Tells where connections lead. */
export class Destinations {
  readonly #opened = new Map<number, Endpoint>();

  /**
   * @param outside May guests reach what is no VM?
   * @param opened Ports of the host, reachable at the switch's address and at their own.
   * @param own What the switch itself offers at its address.
   */
  constructor(
    readonly directory: Directory,
    readonly outside: boolean,
    opened: readonly Endpoint[],
    readonly own: OwnServices,
  ) {
    for (const endpoint of opened) this.#opened.set(endpoint.port, endpoint);
  }

  /** Where a VM's connection to this endpoint leads. IPv4-mapped addresses come unmapped. */
  of(from: Vm, protocol: Protocol, { address, port }: Endpoint): Destination {
    const vm = this.directory.byAddress(address);
    const opened = this.#opened.get(port);
    if (vm === "switch") {
      const own = this.own(from, protocol, port);
      if (own) return { kind: "host", actual: own };
      return opened ? { kind: "host", actual: opened } : none(Errno.ECONNREFUSED, "the switch offers nothing there");
    }
    if (vm) return { kind: "vm", vm };
    if (opened && opened.address.text === address.text) return { kind: "host", actual: opened };
    if (this.directory.isInside(address)) return none(Errno.EHOSTUNREACH, "no VM has that address");
    const why = forbidden(address);
    if (why) return none(Errno.ECONNREFUSED, `guests must not reach ${formatEndpoint({ address, port })}: ${why}`);
    if (!this.outside) return none(Errno.ENETUNREACH, "the outside is not reachable from this switch");
    return { kind: "host", actual: { address, port } };
  }
}

function none(errno: number, reason: string): Destination {
  return { kind: "none", errno, reason };
}
