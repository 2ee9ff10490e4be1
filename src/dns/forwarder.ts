/**
 * Asks the upstreams what is not ours to answer.
 *
 * Theory of operation. A query goes out as the client wrote it, under a random id, from a socket of its own at a port that the system
 * chooses; what comes back is the answer only if it comes from an upstream that was asked, with that id and that question, since
 * anyone may send to the port. An upstream that says nothing in time is asked again after the others; one that answers that it cannot
 * (SERVFAIL, NOTIMP, REFUSED) is not, and what it said is passed on when no other does better. All tries of a query come from the same
 * socket, which is listened on until its time is over: an upstream that takes longer than one try answers all the same.
 *
 * Equal questions that come meanwhile, as from a client that tries again, share one query and its answer.
 *
 * A truncated answer is passed on to a client that asked over UDP, which then comes back over TCP; for a client that came over TCP
 * the upstream is asked over TCP too. What is being fetched is waited for as long as any answer: who has it is not asked again, but others are,
 * as if it had said nothing.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import type { Clock, Timer } from "../clock.ts";
import { type Endpoint, formatEndpoint, parseAddress } from "../net/address.ts";
import { MESSAGE_BYTES_MAX, type ResolverLimits } from "./limits.ts";
import { idOf, isAnswerTo, isTruncated, type Query, Rcode, rcodeOf, withId } from "./message.ts";
import { MessageConnection } from "./tcp.ts";
import { UdpSocket } from "./udp.ts";
import type { Upstreams } from "./upstreams.ts";

const any = { 4: parseAddress("0.0.0.0"), 6: parseAddress("::") } as const;
/** An upstream that says this is not asked again. */
const helpless: readonly number[] = [Rcode.SERVFAIL, Rcode.NOTIMP, Rcode.REFUSED];

/** What a forwarder is made of. */
export interface ForwarderOptions {
  readonly upstreams: Upstreams;
  readonly limits: ResolverLimits;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Forwards queries. Disposing it ends those that are under way, without an answer. */
export class Forwarder implements Disposable {
  readonly #underWay = new Map<string, Forwarded>();
  /** Askers that wait. */
  #asking = 0;
  #stopped = false;

  constructor(readonly options: ForwarderOptions) {}

  /** Is there nobody to ask? */
  get isAlone(): boolean {
    return this.options.upstreams.current.length === 0;
  }

  /**
   * Ask the upstreams.
   *
   * @param tcp Did the client come over TCP?
   * @returns The answer, under the client's id; undefined when there is none, or too much is under way.
   */
  async ask(query: Query, tcp: boolean): Promise<Uint8Array | undefined> {
    const { limits, log } = this.options;
    const key = keyOf(query, tcp);
    let forwarded = this.#underWay.get(key);
    const full = forwarded ? this.#asking >= limits.askers : this.#underWay.size >= limits.forwarded;
    if (full || this.#stopped) {
      log.debug("{name} is not forwarded: {running} queries are", { name: query.name, running: this.#underWay.size });
      return undefined;
    }
    if (!forwarded) {
      forwarded = new Forwarded(query, tcp, this.options);
      this.#underWay.set(key, forwarded);
    }
    this.#asking++;
    try {
      const answer = await forwarded.answer;
      return answer && withId(answer, idOf(query.bytes));
    } finally {
      this.#asking--;
      if (this.#underWay.get(key) === forwarded) this.#underWay.delete(key);
    }
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    for (const forwarded of [...this.#underWay.values()]) forwarded.end(undefined);
  }
}

/** Questions are equal when all but their ids is, byte for byte: what comes back is the same for each. */
function keyOf({ bytes }: Query, tcp: boolean): string {
  return `${tcp} ${String.fromCharCode(...bytes.subarray(2))}`;
}

/** One query, from the first try to its end. */
class Forwarded {
  /** Settles once, and never fails. */
  readonly answer: Promise<Uint8Array | undefined>;
  readonly #settled = Promise.withResolvers<Uint8Array | undefined>();
  readonly #id = crypto.getRandomValues(new Uint16Array(1))[0]!;
  readonly #sockets = new Map<4 | 6, Promise<UdpSocket>>();
  /** Whom to ask next, in turn. */
  readonly #turn: Endpoint[];
  /** Those that were asked, and may still answer. */
  readonly #asked = new Map<string, Endpoint>();
  /** Those whose answer is being fetched over TCP. */
  readonly #fetching = new Set<string>();
  readonly #timers = new Set<Timer>();
  readonly #abort = new AbortController();
  #tries: number;
  /** What an upstream said that could not answer. */
  #poor: Uint8Array | undefined;
  #ended = false;

  constructor(readonly query: Query, readonly tcp: boolean, readonly options: ForwarderOptions) {
    const { upstreams, limits, clock } = options;
    this.#turn = [...upstreams.current];
    this.#tries = limits.tries;
    this.answer = this.#settled.promise;
    this.#timers.add(clock.after(limits.answerMs, () => this.end(this.#poor)));
    this.#next();
  }

  /** It is over, with this answer. */
  end(answer: Uint8Array | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const timer of this.#timers) timer.cancel();
    this.#abort.abort();
    const closed = [...this.#sockets.values()].map((socket) => socket.then((opened) => opened[Symbol.asyncDispose]()));
    // The answer waits for the sockets, so that nothing is left when the last asker has it.
    Promise.allSettled(closed).then(() => this.#settled.resolve(answer), () => this.#settled.resolve(answer));
  }

  /** Ask the next one whose turn it is, and another one when it has not answered after a while. */
  #next(): void {
    if (this.#ended) return;
    const upstream = this.#turn.shift();
    if (upstream && this.#tries > 0) {
      this.#tries--;
      this.#turn.push(upstream);
      this.#asked.set(formatEndpoint(upstream), upstream);
      this.#send(upstream).catch((error) => this.#failed(upstream, error));
      this.#later();
    } else if (this.#asked.size + this.#fetching.size === 0) this.end(this.#poor);
  }

  #later(): void {
    const timer: Timer = this.options.clock.after(this.options.limits.tryMs, () => {
      this.#timers.delete(timer);
      this.#next();
    });
    this.#timers.add(timer);
  }

  /** One that is not to be asked again, nor waited for. */
  #without(upstream: Endpoint): void {
    this.#forget(formatEndpoint(upstream));
    this.#next();
  }

  #forget(key: string): void {
    this.#asked.delete(key);
    const at = this.#turn.findIndex((other) => formatEndpoint(other) === key);
    if (at >= 0) this.#turn.splice(at, 1);
  }

  #failed(upstream: Endpoint, error: unknown): void {
    if (this.#ended) return;
    this.options.log.debug("{upstream}: {error}", { upstream: formatEndpoint(upstream), error });
    this.#without(upstream);
  }

  async #send(upstream: Endpoint): Promise<void> {
    const { family } = upstream.address;
    const opening = this.#sockets.get(family) ??
      UdpSocket.open(any[family], (bytes, from) => this.#datagram(bytes, from));
    this.#sockets.set(family, opening);
    const socket = await opening;
    if (!this.#ended) await socket.send(withId(this.query.bytes, this.#id), upstream);
  }

  #datagram(bytes: Uint8Array, from: Endpoint): void {
    const key = formatEndpoint(from);
    const upstream = this.#asked.get(key);
    if (!upstream || this.#ended || !isAnswerTo(bytes, this.query, this.#id)) return;
    if (!this.tcp || !isTruncated(bytes)) return this.#take(upstream, bytes);
    // Neither is another copy of it fetched, nor is who has it asked once more.
    this.#forget(key);
    this.#fetching.add(key);
    this.#fetch(upstream).finally(() => this.#fetching.delete(key)).then(
      (answer) => answer ? this.#take(upstream, answer) : this.#failed(upstream, "it ended the connection"),
      (error) => this.#failed(upstream, error),
    );
  }

  #take(upstream: Endpoint, answer: Uint8Array): void {
    if (helpless.includes(rcodeOf(answer))) {
      this.#poor = answer;
      return this.#without(upstream);
    }
    this.options.upstreams.answered(upstream);
    this.end(answer);
  }

  /** Ask over TCP. The time of all tries ends it; the connection's own time is for clients. */
  async #fetch({ address: { text: hostname }, port }: Endpoint): Promise<Uint8Array | undefined> {
    const { signal } = this.#abort;
    using connection = new MessageConnection(await Deno.connect({ hostname, port, signal }), undefined);
    signal.addEventListener("abort", () => connection[Symbol.dispose]());
    if (signal.aborted || !await connection.write(withId(this.query.bytes, this.#id))) return undefined;
    for (;;) {
      const answer = await connection.read(MESSAGE_BYTES_MAX);
      if (!answer || isAnswerTo(answer, this.query, this.#id)) return answer;
    }
  }
}
