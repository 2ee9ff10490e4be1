/**
 * Asks the upstreams what is not ours to answer.
 *
 * Theory of operation. A query goes out as the client wrote it, under a random id, from a socket of its own at a port that the system
 * chooses; what comes back is the answer only if it comes from the upstream that was asked, with that id and that question, since
 * anyone may send to the port. An upstream that says nothing in time is asked again after the others; one that answers that it cannot
 * (SERVFAIL, NOTIMP, REFUSED) is not, and what it said is passed on when no other does better.
 *
 * A truncated answer is passed on to a client that asked over UDP, which then comes back over TCP; for a client that came over TCP
 * the upstream is asked over TCP too.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import { type Endpoint, formatEndpoint, parseAddress } from "../net/address.ts";
import { MESSAGE_BYTES_MAX, type ResolverLimits } from "./limits.ts";
import { idOf, isAnswerTo, isTruncated, type Query, Rcode, rcodeOf, withId } from "./message.ts";
import { MessageConnection } from "./tcp.ts";
import { UdpSocket } from "./udp.ts";

const any = { 4: parseAddress("0.0.0.0"), 6: parseAddress("::") } as const;
/** An upstream that says this is not asked again. */
const helpless: readonly number[] = [Rcode.SERVFAIL, Rcode.NOTIMP, Rcode.REFUSED];

/** Forwards queries. Disposing it ends those that are under way, without an answer. */
export class Forwarder implements Disposable {
  readonly #stop = new AbortController();
  #running = 0;

  constructor(readonly upstreams: readonly Endpoint[], readonly limits: ResolverLimits, readonly log: Logger) {}

  /**
   * Ask the upstreams.
   *
   * @param tcp Did the client come over TCP?
   * @returns The answer, under the client's id; undefined when there is none, or too many queries are under way.
   */
  async ask(query: Query, tcp: boolean): Promise<Uint8Array | undefined> {
    if (this.#running >= this.limits.forwarded) {
      this.log.debug("{name} is not forwarded: {running} queries are", { name: query.name, running: this.#running });
      return undefined;
    }
    this.#running++;
    try {
      const answer = await this.#askInTurn(query, tcp);
      return answer && withId(answer, idOf(query.bytes));
    } finally {
      this.#running--;
    }
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  async #askInTurn(query: Query, tcp: boolean): Promise<Uint8Array | undefined> {
    const turn = [...this.upstreams];
    let poor: Uint8Array | undefined;
    for (let tries = this.limits.tries; tries > 0 && !this.#stop.signal.aborted; tries--) {
      const upstream = turn.shift();
      if (!upstream) break;
      const answer = await this.#askOne(upstream, query, tcp);
      if (answer && !helpless.includes(rcodeOf(answer))) return answer;
      if (answer) poor = answer;
      else turn.push(upstream);
    }
    return poor;
  }

  async #askOne(upstream: Endpoint, query: Query, tcp: boolean): Promise<Uint8Array | undefined> {
    const answer = await this.#try(upstream, query, overUdp);
    return answer && tcp && isTruncated(answer) ? await this.#try(upstream, query, overTcp) : answer;
  }

  /** One exchange, within its time. */
  async #try(upstream: Endpoint, query: Query, exchange: Exchange): Promise<Uint8Array | undefined> {
    const end = new AbortController();
    const abort = (): void => end.abort();
    const timer = setTimeout(abort, this.limits.tryMs);
    this.#stop.signal.addEventListener("abort", abort);
    if (this.#stop.signal.aborted) abort();
    try {
      return await exchange(upstream, query, end.signal);
    } catch (error) {
      if (!end.signal.aborted) this.log.debug("{upstream}: {error}", { upstream: formatEndpoint(upstream), error });
      return undefined;
    } finally {
      clearTimeout(timer);
      this.#stop.signal.removeEventListener("abort", abort);
    }
  }
}

type Exchange = (upstream: Endpoint, query: Query, signal: AbortSignal) => Promise<Uint8Array | undefined>;

function randomId(): number {
  return crypto.getRandomValues(new Uint16Array(1))[0]!;
}

async function overUdp(upstream: Endpoint, query: Query, signal: AbortSignal): Promise<Uint8Array | undefined> {
  const id = randomId();
  const answer = Promise.withResolvers<Uint8Array | undefined>();
  await using socket = await UdpSocket.open(any[upstream.address.family], (bytes, from) => {
    if (from.port !== upstream.port || from.address.text !== upstream.address.text) return;
    if (isAnswerTo(bytes, query, id)) answer.resolve(bytes);
  });
  signal.addEventListener("abort", () => answer.resolve(undefined));
  if (signal.aborted) return undefined;
  await socket.send(withId(query.bytes, id), upstream);
  return await answer.promise;
}

async function overTcp(upstream: Endpoint, query: Query, signal: AbortSignal): Promise<Uint8Array | undefined> {
  const { address: { text: hostname }, port } = upstream;
  const id = randomId();
  // The signal ends it; the connection's own time is for clients.
  using connection = new MessageConnection(await Deno.connect({ hostname, port, signal }), undefined);
  signal.addEventListener("abort", () => connection[Symbol.dispose]());
  if (signal.aborted || !await connection.write(withId(query.bytes, id))) return undefined;
  for (;;) {
    const answer = await connection.read(MESSAGE_BYTES_MAX);
    if (!answer || isAnswerTo(answer, query, id)) return answer;
  }
}
