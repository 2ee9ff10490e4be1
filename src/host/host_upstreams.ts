/**
 * The host's own resolvers, as they are now: resolv.conf is read again when it changes, be it edited, replaced, or a link to another
 * one. Those of before are asked after the new ones, until one of the new ones has answered: a file may be written before
 * what it names is there, or be empty for a while.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { type Clock, systemClock } from "../clock.ts";
import { hostResolvers } from "../dns/host_resolvers.ts";
import type { Upstreams } from "../dns/upstreams.ts";
import { type Endpoint, formatEndpoint } from "../net/address.ts";
import { FileWatch } from "./file_watch.ts";

const log = getLogger(["csvn", "names"]);

/** Follows resolv.conf. */
export class HostUpstreams implements Upstreams, AsyncDisposable {
  #named: readonly Endpoint[] = [];
  #before: readonly Endpoint[] = [];
  readonly #watch: FileWatch;
  #reading: Promise<void> | undefined;
  #again = false;

  /** Reads the file, which takes a moment; see {@linkcode HostUpstreams.ready}. */
  constructor(readonly path = "/etc/resolv.conf", clock: Clock = systemClock) {
    this.#watch = new FileWatch([path], () => this.#changed(), clock);
    this.#changed();
  }

  get current(): readonly Endpoint[] {
    return this.#before.length === 0 ? this.#named : [...this.#named, ...without(this.#before, this.#named)];
  }

  answered(upstream: Endpoint): void {
    if (this.#before.length > 0 && without([upstream], this.#named).length === 0) this.#before = [];
  }

  /** Resolves when what has changed is read. */
  async ready(): Promise<void> {
    while (this.#reading) await this.#reading;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watch[Symbol.dispose]();
    await this.ready();
  }

  #changed(): void {
    this.#again = true;
    this.#reading ??= this.#read().finally(() => this.#reading = undefined);
  }

  async #read(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      const named = await hostResolvers(this.path);
      if (text(named) === text(this.#named)) continue;
      // Those that have not answered since the last change are no better than those before.
      this.#before = without(this.current, named);
      this.#named = named;
      log.info("the host's resolvers: {resolvers}", { resolvers: text(named) || "none" });
    }
  }
}

function text(endpoints: readonly Endpoint[]): string {
  return endpoints.map(formatEndpoint).join(", ");
}

/** Those of the first that are none of the second. */
function without(endpoints: readonly Endpoint[], others: readonly Endpoint[]): Endpoint[] {
  const known = new Set(others.map(formatEndpoint));
  return endpoints.filter((endpoint) => !known.has(formatEndpoint(endpoint)));
}
