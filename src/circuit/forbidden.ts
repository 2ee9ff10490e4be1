/**
 * What guests must not reach by the host's stack, unless it is opened by name: the host's loopback, what is near it without a router, and where
 * clouds tell a machine its secrets. In one table, with its sources; operators add to it. The host's other addresses are reachable, as they are
 * for any machine on its network.
 *
 * @module
 */

import type { Address } from "../net/address.ts";
import { Cidr } from "../net/cidr.ts";

const DISGUISE = "an IPv4 address in disguise";
const METADATA = "a cloud's metadata address";

/** Where it says so is behind each. The first that fits tells why. */
const table: readonly (readonly [cidr: string, why: string])[] = [
  ["0.0.0.0/8", "this network (0.0.0.0/8)"], // RFC 1122, 3.2.1.3; Linux takes 0.0.0.0 for itself
  ["127.0.0.0/8", "the host's loopback"], // RFC 1122, 3.2.1.3
  // RFC 3927. Here are the metadata of Amazon, Azure, Google, Oracle, DigitalOcean, OpenStack, Hetzner and others (169.254.169.254), of
  // Amazon's containers (169.254.170.2, 169.254.170.23), of Scaleway (169.254.42.42) and Tencent (169.254.0.23).
  ["169.254.0.0/16", "link-local"],
  ["100.100.100.200/32", METADATA], // Alibaba Cloud: ECS, "Access instance metadata"
  ["168.63.129.16/32", METADATA], // Azure: "What is IP address 168.63.129.16?"
  ["192.0.0.192/32", METADATA], // Oracle Cloud Infrastructure Classic: "Retrieving instance metadata"
  ["224.0.0.0/4", "multicast"], // RFC 5771
  ["240.0.0.0/4", "reserved or broadcast"], // RFC 1112, 4; RFC 919

  ["::/128", "the host's loopback"], // RFC 4291, 2.5.2; Linux takes it for itself
  ["::1/128", "the host's loopback"], // RFC 4291, 2.5.3
  ["fe80::/10", "link-local"], // RFC 4291, 2.5.6
  ["ff00::/8", "multicast"], // RFC 4291, 2.7
  // Amazon keeps this range for services of the machine: metadata (::254; EC2, "Access instance metadata"), credentials of EKS (::23;
  // "Set up the Amazon EKS Pod Identity Agent"), names and time.
  ["fd00:ec2::/32", METADATA],
  ["fd20:ce::254/128", METADATA], // Google Cloud: Compute Engine, "About VM metadata", of instances that have IPv6 alone
  ["fd00:c1::a9fe:a9fe/128", METADATA], // Oracle Cloud Infrastructure: "Getting instance metadata"
  ["fd00:42::42/128", METADATA], // Scaleway: "Instance metadata"
  ["fd00:a9fe:a9fe::1/128", METADATA], // Akamai (Linode): "Metadata service API"
  ["fd00:100::100:200/128", METADATA], // Alibaba Cloud: ECS, "Access instance metadata", by IPv6

  // Other spellings of IPv4 addresses: the host's routes may lead them to what is forbidden above, and policies do not see what they stand for.
  ["::/96", DISGUISE], // IPv4-compatible: RFC 4291, 2.5.5.1
  ["::ffff:0:0/96", DISGUISE], // IPv4-mapped: RFC 4291, 2.5.5.2
  ["::ffff:0:0:0/96", DISGUISE], // IPv4-translated: RFC 2765, 2.1
  ["64:ff9b::/96", DISGUISE], // NAT64: RFC 6052, 2.1
  ["64:ff9b:1::/48", DISGUISE], // NAT64 with a prefix of one's own: RFC 8215
  ["2002::/16", DISGUISE], // 6to4: RFC 3056, 2
  ["2001::/32", DISGUISE], // Teredo: RFC 4380, 2.6
];

/** Tells which addresses must not be reached by the host's stack. */
export class Forbidden {
  readonly #rows: readonly (readonly [Cidr, string])[];

  /** @param more What the operator of the switch forbids as well. @throws {AddressError} as {@linkcode Cidr.unmapped}. */
  constructor(more: readonly Cidr[] = []) {
    this.#rows = [
      ...table.map(([text, why]) => [Cidr.parse(text), why] as const),
      ...more.map((cidr) => cidr.unmapped()).map((cidr) => [cidr, `${cidr} is forbidden by configuration`] as const),
    ];
  }

  /** Why an address, which comes unmapped, must not be reached; undefined: it may. */
  why(address: Address): string | undefined {
    return this.#rows.find(([cidr]) => cidr.contains(address))?.[1];
  }
}
