/**
 * The guests' resolver: listens for queries on UDP and TCP.
 *
 * Theory of operation. It listens on the host, at ports of its own, where the switch leads port 53 of the gateway's address. Each
 * datagram is answered by itself; a TCP connection's queries one after the other, so that a client has one query under way per
 * connection. Everything that a client can hold is bounded: queries at upstreams, connections, and the time that a connection takes
 * for its next query and for an answer ({@linkcode ResolverLimits}).
 *
 * @module
 */

import { getLogger, type Logger } from "@logtape/logtape";
import { type Clock, systemClock } from "../clock.ts";
import { type Endpoint, parseAddress } from "../net/address.ts";
import { Forwarder } from "./forwarder.ts";
import { DEFAULT_RESOLVER_LIMITS, QUERY_BYTES_MAX, type ResolverLimits } from "./limits.ts";
import { type MayForward, type OnAnswer, type OnHidden, Responder } from "./responder.ts";
import { MessageConnection } from "./tcp.ts";
import { UdpSocket } from "./udp.ts";
import type { Upstreams } from "./upstreams.ts";
import type { Zone } from "./zone.ts";

/** Milliseconds until the next connection is accepted, after one could not be. */
const ACCEPT_AGAIN_MS = 100;
/** Milliseconds in which that is said once. */
const ACCEPT_SAID_MS = 60_000;

/** What a resolver is made of. */
export interface ResolverOptions {
  /** The switch's own names. */
  readonly zone: Zone;
  /** Who is asked for other names; where there is nobody, there are none. */
  readonly upstreams: Upstreams;
  /** The address of the host to listen on. */
  readonly hostname: string;
  readonly log?: Logger;
  readonly onAnswer?: OnAnswer;
  /** Default: any name. */
  readonly mayForward?: MayForward;
  /** Told of names that the client may not have others asked for. */
  readonly onHidden?: OnHidden;
  /** Others than the usual limits. */
  readonly limits?: Partial<ResolverLimits>;
  readonly clock?: Clock;
}

/**
 * A running resolver. Disposing it ends what is under way, and leaves nothing open.
 *
 * @example
 * ```ts
 * import { Resolver } from "./resolver.ts";
 * import { fixedUpstreams } from "./upstreams.ts";
 * await using resolver = await Resolver.start({
 *   zone: { lookup: () => undefined },
 *   upstreams: fixedUpstreams([]),
 *   hostname: "127.0.0.1",
 * });
 * console.log(resolver.udp.port, resolver.tcp.port);
 * ```
 */
export class Resolver implements AsyncDisposable {
  /** Where it listens. */
  readonly udp: Endpoint;
  /** Where it listens. */
  readonly tcp: Endpoint;
  readonly #log: Logger;
  readonly #limits: ResolverLimits;
  readonly #clock: Clock;
  readonly #forwarder: Forwarder;
  readonly #responder: Responder;
  readonly #stop = new AbortController();
  readonly #connections = new Set<MessageConnection>();
  readonly #tasks = new Set<Promise<void>>();
  readonly #listener: Deno.TcpListener;
  readonly #socket: UdpSocket;

  private constructor(options: ResolverOptions, limits: ResolverLimits, listener: Deno.TcpListener, socket: UdpSocket) {
    this.#log = options.log ?? getLogger(["csvn", "dns"]);
    this.#limits = limits;
    this.#listener = listener;
    this.#socket = socket;
    const { clock = systemClock, upstreams } = options;
    this.#clock = clock;
    this.#forwarder = new Forwarder({ upstreams, limits, log: this.#log, clock });
    this.#responder = new Responder(this.#forwarder, this.#log, options);
    this.udp = socket.local;
    this.tcp = { address: parseAddress(listener.addr.hostname), port: listener.addr.port };
    this.#run(this.#accept());
  }

  /**
   * Start listening.
   *
   * @throws {Error} of the system, when it cannot.
   */
  static async start(options: ResolverOptions): Promise<Resolver> {
    const limits = { ...DEFAULT_RESOLVER_LIMITS, ...options.limits };
    const address = parseAddress(options.hostname);
    const listener = Deno.listen({ hostname: address.text, port: 0 });
    try {
      let resolver: Resolver | undefined;
      // What comes before it is there is lost, as datagrams may be.
      const socket = await UdpSocket.open(address, (bytes, from) => {
        if (resolver) resolver.#run(resolver.#datagram(bytes, from));
      });
      return resolver = new Resolver(options, limits, listener, socket);
    } catch (error) {
      listener.close();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#stop.signal.aborted) {
      this.#stop.abort();
      this.#listener.close();
      this.#forwarder[Symbol.dispose]();
      for (const connection of this.#connections) connection[Symbol.dispose]();
    }
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
    await this.#socket[Symbol.asyncDispose]();
  }

  /** Remember what is under way until it is done; what fails is logged. */
  #run(work: Promise<void>): void {
    const task = work
      .catch((error) => this.#log.debug("a client was not answered: {error}", { error }))
      .finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  async #datagram(bytes: Uint8Array, from: Endpoint): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const answer = await this.#responder.respond(bytes, false);
    if (answer && !this.#stop.signal.aborted) await this.#socket.send(answer, from);
  }

  async #accept(): Promise<void> {
    const { signal } = this.#stop;
    let said = -Infinity;
    while (!signal.aborted) {
      try {
        const connection = new MessageConnection(await this.#listener.accept(), this.#limits.clientMs, this.#clock);
        if (signal.aborted || this.#connections.size >= this.#limits.connections) connection[Symbol.dispose]();
        else this.#run(this.#serve(connection));
      } catch (error) {
        if (signal.aborted) return;
        const now = this.#clock.now();
        if (now - said >= ACCEPT_SAID_MS) {
          said = now;
          this.#log.warn("a connection was not accepted: {error}; it is tried again", { error });
        }
        await this.#rest(ACCEPT_AGAIN_MS);
      }
    }
  }

  /** A while, or until the end. */
  #rest(ms: number): Promise<void> {
    const { signal } = this.#stop;
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = this.#clock.after(ms, done);
      signal.addEventListener("abort", done);
    });
  }

  async #serve(connection: MessageConnection): Promise<void> {
    this.#connections.add(connection);
    try {
      for (;;) {
        const query = await connection.read(QUERY_BYTES_MAX);
        if (!query) return;
        const answer = await this.#responder.respond(query, true);
        if (answer && !await connection.write(answer)) return;
      }
    } finally {
      connection[Symbol.dispose]();
      this.#connections.delete(connection);
    }
  }
}
