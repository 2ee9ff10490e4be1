/**
 * Where a connection to an address leads: to a VM, to something that the switch opens, out through the host's stack, or
 * nowhere.
 *
 * @module
 */

import { Errno } from "../errno.ts";
import { type Endpoint, formatEndpoint, unmapped } from "../net/address.ts";
import { type Directory, DirectoryError } from "./directory.ts";
import type { Forbidden } from "./forbidden.ts";
import type { Protocol } from "./listener.ts";
import type { Vm } from "./vm.ts";

/** Where a connection leads. */
export type Destination =
  | { readonly kind: "vm"; readonly vm: Vm }
  /** To the host's stack: `actual` is where it really goes. */
  | { readonly kind: "host"; readonly actual: Endpoint }
  | { readonly kind: "none"; readonly errno: number; readonly reason: string };

/** Where a service that the switch itself offers to a VM really is; undefined: it offers nothing at that port. */
export type OwnServices = (vm: Vm, protocol: Protocol, port: number) => Endpoint | undefined;

/** Tells where connections lead. */
export class Destinations {
  /** What is opened, by its address and port. */
  readonly #opened = new Map<string, Endpoint>();
  /** The same at the switch's address, by family and port. */
  readonly #atSwitch = new Map<string, Endpoint>();

  /**
   * @param outside May guests reach what is no VM?
   * @param opened Ports of the host, reachable at the switch's address and at their own.
   * @param own What the switch itself offers at its address.
   * @throws {DirectoryError} when two of them would be one at the switch's address.
   */
  constructor(
    readonly directory: Directory,
    readonly outside: boolean,
    opened: readonly Endpoint[],
    readonly own: OwnServices,
    readonly forbidden: Forbidden,
  ) {
    for (const { address, port } of opened) {
      // As destinations come.
      const endpoint = { address: unmapped(address), port };
      const key = `${endpoint.address.family}:${endpoint.port}`;
      const other = this.#atSwitch.get(key);
      if (other && other.address.text !== endpoint.address.text) {
        const both = `${formatEndpoint(other)} and ${formatEndpoint(endpoint)}`;
        throw new DirectoryError(
          `${both} are both opened to VMs: which of them is port ${endpoint.port} of the switch?`,
        );
      }
      this.#atSwitch.set(key, endpoint);
      this.#opened.set(formatEndpoint(endpoint), endpoint);
    }
  }

  /** Where a VM's connection to this endpoint leads. IPv4-mapped addresses come unmapped. */
  of(from: Vm, protocol: Protocol, { address, port }: Endpoint): Destination {
    const vm = this.directory.byAddress(address);
    if (vm === "switch") {
      const own = this.own(from, protocol, port);
      if (own) return { kind: "host", actual: own };
      // One of the same family, if there is one.
      const [same, other] = address.family === 4 ? [4, 6] : [6, 4];
      const opened = this.#atSwitch.get(`${same}:${port}`) ?? this.#atSwitch.get(`${other}:${port}`);
      return opened ? { kind: "host", actual: opened } : none(Errno.ECONNREFUSED, "the switch offers nothing there");
    }
    if (vm) return { kind: "vm", vm };
    const opened = this.#opened.get(formatEndpoint({ address, port }));
    if (opened) return { kind: "host", actual: opened };
    if (this.directory.isInside(address)) return none(Errno.EHOSTUNREACH, "no VM has that address");
    const why = this.forbidden.why(address);
    if (why) return none(Errno.ECONNREFUSED, `guests must not reach ${formatEndpoint({ address, port })}: ${why}`);
    if (!this.outside) return none(Errno.ENETUNREACH, "the outside is not reachable from this switch");
    return { kind: "host", actual: { address, port } };
  }
}

function none(errno: number, reason: string): Destination {
  return { kind: "none", errno, reason };
}
