/**
 * The directory: which VMs there are, by name and by address, and which names and addresses are free.
 *
 * @module
 */

import type { Address, Network } from "../net/address.ts";
import type { VmIdentity } from "./records.ts";
import type { Vm } from "./vm.ts";

/** A VM that the configuration names. */
export interface Reservation {
  readonly name: string;
  readonly ipv4: Address | undefined;
  readonly ipv6: Address | undefined;
}

/** A name or an address cannot be given; the message says which and why. */
export class DirectoryError extends Error {
  override readonly name = "DirectoryError";
}

/** Which address of its networks is the switch's; 0 is the network itself. */
export const GATEWAY = 1;
const FIRST = 2;
/** A VM's name: it stands in the DNS, in control groups' paths, and in what drivers are told. */
const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Names and addresses of a switch's VMs. */
export class Directory {
  readonly gateway4: Address;
  readonly gateway6: Address;
  readonly #byName = new Map<string, Vm>();
  readonly #byAddress = new Map<string, Vm>();
  readonly #reserved = new Map<string, Reservation & { ipv4: Address; ipv6: Address }>();
  readonly #reservedAddresses = new Set<string>();

  /** @throws {DirectoryError} when reservations collide or lie outside the networks, or have names that none can have. */
  constructor(readonly network4: Network, readonly network6: Network, reservations: readonly Reservation[] = []) {
    this.gateway4 = network4.at(GATEWAY)!;
    this.gateway6 = network6.at(GATEWAY)!;
    // Those with addresses of their own first, so that no other is given them.
    for (const reservation of reservations) this.#reserveAddresses(reservation);
    for (const reservation of reservations) this.#reserve(reservation);
  }

  /** The VMs that are there now. */
  get vms(): Iterable<Vm> {
    return this.#byName.values();
  }

  /** The VM of that name. */
  byName(name: string): Vm | undefined {
    return this.#byName.get(name);
  }

  /** What has an address: a VM, the switch itself, or nothing. */
  byAddress(address: Address): Vm | "switch" | undefined {
    if (address.text === this.gateway4.text || address.text === this.gateway6.text) return "switch";
    return this.#byAddress.get(address.text);
  }

  /** Does the address lie in the switch's networks? */
  isInside(address: Address): boolean {
    return (this.network4.indexOf(address) ?? this.network6.indexOf(address)) !== undefined;
  }

  /**
   * The identity for a VM that has come: that of a reservation, or the next free name and address.
   *
   * @throws {DirectoryError} when the name is in use, or no address is free.
   */
  identify(reserved?: string): VmIdentity {
    const found = reserved === undefined ? this.#free() : this.#reserved.get(reserved);
    if (!found) throw new DirectoryError(`no VM named ${reserved} is configured`);
    if (this.#byName.has(found.name)) throw new DirectoryError(`VM ${found.name} is connected already`);
    return {
      name: found.name,
      ipv4: found.ipv4,
      ipv6: found.ipv6,
      prefix4: this.network4.prefix,
      prefix6: this.network6.prefix,
      gateway4: this.gateway4,
      gateway6: this.gateway6,
    };
  }

  /** A VM has come. */
  add(vm: Vm): void {
    this.#byName.set(vm.name, vm);
    this.#byAddress.set(vm.identity.ipv4.text, vm);
    this.#byAddress.set(vm.identity.ipv6.text, vm);
  }

  /** A VM has gone. */
  remove(vm: Vm): void {
    this.#byName.delete(vm.name);
    this.#byAddress.delete(vm.identity.ipv4.text);
    this.#byAddress.delete(vm.identity.ipv6.text);
  }

  #taken(address: Address): boolean {
    return this.#byAddress.has(address.text) || this.#reservedAddresses.has(address.text);
  }

  /** The first index at which both networks' addresses are free. */
  #freeAddresses(): { ipv4: Address; ipv6: Address } {
    for (let n = FIRST;; n++) {
      const ipv4 = this.network4.at(n);
      const ipv6 = this.network6.at(n);
      if (!ipv4 || !ipv6) throw new DirectoryError(`no address is free in ${this.network4}`);
      if (!this.#taken(ipv4) && !this.#taken(ipv6)) return { ipv4, ipv6 };
    }
  }

  #free(): { name: string; ipv4: Address; ipv6: Address } {
    for (let n = 1;; n++) {
      const name = `vm${n}`;
      if (!this.#byName.has(name) && !this.#reserved.has(name)) return { name, ...this.#freeAddresses() };
    }
  }

  #reserveAddresses({ name, ipv4, ipv6 }: Reservation): void {
    for (const [address, network] of [[ipv4, this.network4], [ipv6, this.network6]] as const) {
      if (!address) continue;
      const index = network.indexOf(address);
      if (index === undefined) throw new DirectoryError(`VM ${name}: ${address.text} is not in ${network}`);
      if (index <= BigInt(GATEWAY) || !network.at(index)) {
        throw new DirectoryError(`VM ${name}: ${address.text} is the network's, the switch's or the broadcast address`);
      }
      if (this.#reservedAddresses.has(address.text)) {
        throw new DirectoryError(`VM ${name}: ${address.text} belongs to another VM`);
      }
      this.#reservedAddresses.add(address.text);
    }
  }

  #reserve({ name, ipv4, ipv6 }: Reservation): void {
    if (!NAME.test(name)) {
      throw new DirectoryError(
        `"${name}" is not a VM name: use up to 63 lower-case letters, digits and hyphens, as in a host name`,
      );
    }
    if (this.#reserved.has(name)) throw new DirectoryError(`two VMs are named ${name}`);
    // An IPv6 address follows from the IPv4 one, unless it is given: the same place in its network.
    const same = ipv4 && this.network6.at(Number(this.network4.indexOf(ipv4)));
    const pick = !ipv4 || (!ipv6 && (!same || this.#taken(same))) ? this.#freeAddresses() : undefined;
    const addresses = { ipv4: ipv4 ?? pick!.ipv4, ipv6: ipv6 ?? pick?.ipv6 ?? same! };
    this.#reserved.set(name, { name, ...addresses });
    this.#reservedAddresses.add(addresses.ipv4.text).add(addresses.ipv6.text);
  }
}
