/**
 * The name service of a switch: port 53 of its address. Each VM has a resolver of its own, so that none can use up another's,
 * and so that it is known who asks.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { type Clock, systemClock, type Timer } from "../clock.ts";
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
/** Milliseconds after which a resolver that could not be started is tried again. */
const RETRY_MS = 1000;
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

/** The name service of one VM. */
interface Served {
  resolver: Resolver | undefined;
  /** It could not be started: when it is tried again. */
  retry: Timer | undefined;
}

/** Serves names to VMs. */
export class Names implements AsyncDisposable {
  /** VMs that are there. */
  readonly #served = new Map<Vm, Served>();
  readonly #pending = new Set<Promise<void>>();
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
    const served: Served = { resolver: undefined, retry: undefined };
    this.#served.set(vm, served);
    this.#track(this.#serve(vm, served));
  }

  /** A VM has gone. */
  detach(vm: Vm): void {
    this.#hidden.forget(vm.name);
    const served = this.#served.get(vm);
    this.#served.delete(vm);
    served?.retry?.cancel();
    if (served?.resolver) this.#track(served.resolver[Symbol.asyncDispose]());
  }

  /** Where a VM's queries really go. */
  endpoint(vm: Vm, protocol: Protocol, port: number): Endpoint | undefined {
    const resolver = port === DNS_PORT ? this.#served.get(vm)?.resolver : undefined;
    return protocol === "udp" ? resolver?.udp : resolver?.tcp;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const vm of [...this.#served.keys()]) this.detach(vm);
    while (this.#pending.size > 0) await Promise.all(this.#pending);
    this.#hidden[Symbol.dispose]();
    await this.#host?.[Symbol.asyncDispose]();
  }

  /** Start a VM's resolver, now or later: descriptors may be short for a while. */
  async #serve(vm: Vm, served: Served): Promise<void> {
    const isThere = (): boolean => this.#served.get(vm) === served;
    const again = served.retry !== undefined;
    try {
      const resolver = await this.#start(vm);
      if (!isThere()) return await resolver[Symbol.asyncDispose]();
      served.resolver = resolver;
      if (again) log.info("there is a name service for {vm} now", { vm: vm.name });
    } catch (error) {
      if (!isThere()) return;
      if (!again) {
        const { message: reason } = error as Error;
        log.error("no name service for {vm}: {reason}; it is tried again", { vm: vm.name, reason });
      }
      const { clock = systemClock } = this.options;
      served.retry = clock.after(RETRY_MS, () => this.#track(this.#serve(vm, served)));
    }
  }

  async #start(vm: Vm): Promise<Resolver> {
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
    return await Resolver.start({
      zone,
      upstreams: this.#upstreams,
      clock,
      hostname: LOOPBACK,
      mayForward: (name) => enforcer.mayResolve(vm.name, name),
      onHidden: (name, type) => this.#hidden.tell(vm.name, name, type),
      onAnswer: (name, _type, records, ttl) => enforcer.resolved(vm.name, name, records, ttl),
    });
  }

  #track(work: Promise<void>): void {
    this.#pending.add(work);
    const done = (): void => void this.#pending.delete(work);
    work.then(done, done);
  }
}
