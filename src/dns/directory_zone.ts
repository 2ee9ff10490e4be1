/**
 * The switch's own names: VMs, configured services, the gateway, and the addresses of all of them.
 *
 * | name | leads to |
 * | --- | --- |
 * | `web`, `web.csvn` | the VM `web`, while it is there |
 * | `host.csvn`, `gateway.csvn` | the gateway's addresses, whatever VMs are called |
 * | a configured service's name | its VMs and addresses; it wins over a VM of that name |
 * | another name under `csvn` | nothing: it never leaves the switch |
 * | a reverse name in the switch's networks | the VM's or the gateway's name under `csvn`, or nothing |
 *
 * @module
 */

import type { Address, Network } from "../net/address.ts";
import { parseReverseName, reverseName } from "./reverse.ts";
import { canonicalName, isWithin, type Zone, type ZoneAnswer, type ZoneType } from "./zone.ts";

/** The domain of the switch's names. */
export const DOMAIN = "csvn";

const gatewayNames = [`gateway.${DOMAIN}`, `host.${DOMAIN}`] as const;

/** A VM, as far as names go. */
export interface NamedVm {
  readonly name: string;
  readonly ipv4: Address;
  readonly ipv6: Address;
}

/** What the zone needs of the directory. It is asked at each query. */
export interface NameDirectory {
  /** The VMs that are there now. */
  vms(): Iterable<NamedVm>;
  readonly gateway4: Address;
  readonly gateway6: Address;
  readonly network4: Network;
  readonly network6: Network;
  /** By full name: names of VMs, or addresses. */
  readonly services: ReadonlyMap<string, readonly (string | Address)[]>;
}

/** Answers from a directory. */
export class DirectoryZone implements Zone {
  constructor(readonly directory: NameDirectory) {}

  lookup(name: string, type: ZoneType): ZoneAnswer | undefined {
    const wanted = canonicalName(name);
    const addresses = this.#addresses(wanted);
    if (addresses) {
      const family = type === "A" ? 4 : type === "AAAA" ? 6 : undefined;
      const records = addresses.filter((address) => address.family === family);
      return records.length > 0 ? { kind: "records", records } : { kind: "no-data", apex: apexOf(wanted) };
    }
    if (isWithin(wanted, DOMAIN)) return { kind: this.#leadsOn(wanted) ? "no-data" : "no-such-name", apex: DOMAIN };
    return this.#reverse(wanted, type);
  }

  /** The addresses of a name, without repetition; undefined when there is no such name. */
  #addresses(name: string): Address[] | undefined {
    const { directory } = this;
    if (gatewayNames.some((reserved) => reserved === name)) return [directory.gateway4, directory.gateway6];
    for (const [service, targets] of directory.services) {
      if (canonicalName(service) !== name) continue;
      const all = targets.flatMap((target) => typeof target === "string" ? this.#vm(target) ?? [] : target);
      return [...new Map(all.map((address) => [address.text, address])).values()];
    }
    return this.#vm(isWithin(name, DOMAIN) && name !== DOMAIN ? name.slice(0, -DOMAIN.length - 1) : name);
  }

  #vm(name: string): Address[] | undefined {
    const wanted = canonicalName(name);
    for (const vm of this.directory.vms()) {
      if (canonicalName(vm.name) === wanted) return [vm.ipv4, vm.ipv6];
    }
    return undefined;
  }

  /** Is it the domain itself, or a name that only has others below it? */
  #leadsOn(name: string): boolean {
    return name === DOMAIN || [...this.directory.services.keys()].some((key) => isWithin(canonicalName(key), name));
  }

  #reverse(name: string, type: ZoneType): ZoneAnswer | undefined {
    const reverse = parseReverseName(name);
    if (!reverse) return undefined;
    const { address, bits, below } = reverse;
    const whole = bits === address.bytes.length * 8 && !below;
    for (const [known, records] of whole ? this.#known() : []) {
      if (known.text !== address.text) continue;
      return type === "PTR" ? { kind: "records", records: [records] } : { kind: "no-data", apex: name };
    }
    const network = address.family === 4 ? this.directory.network4 : this.directory.network6;
    if (bits < network.prefix || network.indexOf(address) === undefined) return undefined;
    const apex = reverseName(address, network.prefix);
    const leadsOn = !whole && !below && this.#known().some(([known]) => isWithin(reverseName(known), name));
    return { kind: leadsOn || name === apex ? "no-data" : "no-such-name", apex };
  }

  /** Addresses and the name of each, those first that win. */
  #known(): [Address, string][] {
    const { gateway4, gateway6, services } = this.directory;
    const known: [Address, string][] = [[gateway4, gatewayNames[0]], [gateway6, gatewayNames[0]]];
    for (const { name, ipv4, ipv6 } of this.directory.vms()) {
      const full = `${canonicalName(name)}.${DOMAIN}`;
      known.push([ipv4, full], [ipv6, full]);
    }
    for (const [service, targets] of services) {
      for (const target of targets) if (typeof target !== "string") known.push([target, canonicalName(service)]);
    }
    return known;
  }
}

function apexOf(name: string): string {
  return isWithin(name, DOMAIN) ? DOMAIN : name;
}
