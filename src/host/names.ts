/**
 * The name service of a switch: port 53 of its address. Each VM has a resolver of its own, so that none can use up another's,
 * and so that it is known who asks.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { type Clock, systemClock } from "../clock.ts";
import type { Directory } from "../circuit/directory.ts";
import type { Protocol } from "../circuit/listener.ts";
import type { Vm } from "../circuit/vm.ts";
import { DirectoryZone } from "../dns/directory_zone.ts";
import { Resolver } from "../dns/resolver.ts";
import { fixedUpstreams, type Upstreams } from "../dns/upstreams.ts";
import type { Address, Endpoint } from "../net/address.ts";
import type { Enforcer } from "./enforcer.ts";
import { HiddenNames } from "./hidden_names.ts";
import { HostUpstreams } from "./host_upstreams.ts";

const log = getLogger(["csvn", "names"]);

const DNS_PORT = 53;
const LOOPBACK = "127.0.0.1";

/** How names are answered. */
export interface NamesOptions {
  /** Asked for names that are not the switch's; undefined: the host's resolvers. */
  readonly resolvers: readonly Endpoint[] | undefined;
  /** Names that lead to VMs, by name, or to addresses. */
  readonly services: ReadonlyMap<string, readonly (string | Address)[]>;
  /** Who says which names a VM may ask for, and is told the answers. */
  readonly enforcer: Pick<Enforcer, "mayResolve" | "resolved">;
  readonly clock?: Clock;
}

/** Serves names to VMs. */
export class Names implements AsyncDisposable {
  readonly #resolvers = new Map<Vm, Resolver>();
  readonly #pending = new Set<Promise<void>>();
  readonly #gone = new WeakSet<Vm>();
  readonly #hidden: HiddenNames;
  readonly #host: HostUpstreams | undefined;
  readonly #upstreams: Upstreams;

  constructor(readonly options: NamesOptions, readonly directory: () => Directory) {
    const { resolvers, clock = systemClock } = options;
    this.#hidden = new HiddenNames(clock);
    this.#host = resolvers ? undefined : new HostUpstreams(undefined, clock);
    this.#upstreams = this.#host ?? fixedUpstreams(resolvers!);
  }

  /** How many questions of a VM were for names that policy hides from it. */
  hidden(vm: Vm): number {
    return this.#hidden.count(vm.name);
  }

  /** A VM has come: start its resolver, which answers from a moment later on. */
  attach(vm: Vm): void {
    this.#track(
      this.#start(vm).catch((error: Error) => {
        log.error("no name service for {vm}: {reason}", { vm: vm.name, reason: error.message });
      }),
    );
  }

  /** A VM has gone. */
  detach(vm: Vm): void {
    this.#gone.add(vm);
    this.#hidden.forget(vm.name);
    const resolver = this.#resolvers.get(vm);
    this.#resolvers.delete(vm);
    if (resolver) this.#track(resolver[Symbol.asyncDispose]());
  }

  /** Where a VM's queries really go. */
  endpoint(vm: Vm, protocol: Protocol, port: number): Endpoint | undefined {
    const resolver = port === DNS_PORT ? this.#resolvers.get(vm) : undefined;
    return protocol === "udp" ? resolver?.udp : resolver?.tcp;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const vm of [...this.#resolvers.keys()]) this.detach(vm);
    while (this.#pending.size > 0) await Promise.all(this.#pending);
    await this.#host?.[Symbol.asyncDispose]();
  }

  async #start(vm: Vm): Promise<void> {
    const directory = this.directory();
    const { gateway4, gateway6, network4, network6 } = directory;
    const zone = new DirectoryZone({
      vms: () => [...directory.vms].map(({ name, identity: { ipv4, ipv6 } }) => ({ name, ipv4, ipv6 })),
      gateway4,
      gateway6,
      network4,
      network6,
      services: this.options.services,
    });
    await this.#host?.ready();
    const { enforcer, clock = systemClock } = this.options;
    const resolver = await Resolver.start({
      zone,
      upstreams: this.#upstreams,
      clock,
      hostname: LOOPBACK,
      mayForward: (name) => enforcer.mayResolve(vm.name, name),
      onHidden: (name, type) => this.#hidden.tell(vm.name, name, type),
      onAnswer: (name, _type, records, ttl) => enforcer.resolved(vm.name, name, records, ttl),
    });
    if (this.#gone.has(vm)) await resolver[Symbol.asyncDispose]();
    else this.#resolvers.set(vm, resolver);
  }

  #track(work: Promise<void>): void {
    this.#pending.add(work);
    const done = (): void => void this.#pending.delete(work);
    work.then(done, done);
  }
}
