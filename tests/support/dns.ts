/**
 * The far ends of the name service: a client, and an upstream that answers as a test says.
 *
 * @module
 */

import { Buffer } from "node:buffer";
// @ts-types="../../src/dns/dns_packet.d.ts"
import packet, { type Answer, type Packet } from "dns-packet";
import { DirectoryZone, type NameDirectory, type NamedVm } from "../../src/dns/directory_zone.ts";
import { MessageConnection } from "../../src/dns/tcp.ts";
import { UdpSocket } from "../../src/dns/udp.ts";
import { type Address, type Endpoint, Network, parseAddress } from "../../src/net/address.ts";

export type { Answer, Packet } from "dns-packet";

/** Loopback addresses of these tests' own. */
export const RESOLVER = "127.77.53.1";
export const UPSTREAMS = ["127.77.53.11", "127.77.53.12", "127.77.53.13"] as const;
const CLIENT = "127.77.53.2";
const TC = 0x200;

/** What a test varies of a query. */
export interface QueryOptions {
  readonly id?: number;
  readonly flags?: number;
  readonly class?: string;
  /** Bytes that the client says to take over UDP. */
  readonly edns?: number;
  readonly ednsVersion?: number;
}

/** A query as bytes. */
export function queryBytes(name: string, type: string, options: QueryOptions = {}): Uint8Array {
  const { id = 0x1234, flags = 0x100, edns, ednsVersion = 0 } = options;
  const opt: Answer = { name: ".", type: "OPT", udpPayloadSize: edns ?? 0, ednsVersion, options: [] };
  const questions = [{ name, type, class: options.class ?? "IN" }];
  const additionals = edns === undefined ? [] : [opt];
  return Uint8Array.from(packet.encode({ id, type: "query", flags, questions, additionals }));
}

/** A message's parts, as its reader sees them. */
export interface Decoded extends Packet {
  readonly rcode: number;
  readonly truncated: boolean;
  readonly authoritative: boolean;
  /** Content of the answers. */
  readonly data: unknown[];
  readonly bytes: Uint8Array;
}

/** Read a message. */
export function decode(bytes: Uint8Array): Decoded {
  const message = packet.decode(Buffer.from(bytes));
  return {
    ...message,
    rcode: message.flags & 15,
    truncated: (message.flags & TC) !== 0,
    authoritative: (message.flags & 0x400) !== 0,
    data: message.answers.map(({ data }) => data),
    bytes,
  };
}

/** A UDP client. */
export class UdpClient implements AsyncDisposable {
  readonly #received: Uint8Array[] = [];
  readonly #waiting: ((bytes: Uint8Array) => void)[] = [];

  private constructor(readonly server: Endpoint) {}

  #socket!: UdpSocket;

  static async open(server: Endpoint): Promise<UdpClient> {
    const client = new UdpClient(server);
    client.#socket = await UdpSocket.open(parseAddress(CLIENT), (bytes) => {
      const waiting = client.#waiting.shift();
      if (waiting) waiting(bytes);
      else client.#received.push(bytes);
    });
    return client;
  }

  /** Send bytes. */
  send(bytes: Uint8Array): Promise<void> {
    return this.#socket.send(bytes, this.server);
  }

  /** The next datagram. */
  async receive(): Promise<Uint8Array> {
    return this.#received.shift() ?? await new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Send bytes and read the answer. */
  async exchange(bytes: Uint8Array): Promise<Decoded> {
    await this.send(bytes);
    return decode(await this.receive());
  }

  /** Ask a question. */
  ask(name: string, type: string, options?: QueryOptions): Promise<Decoded> {
    return this.exchange(queryBytes(name, type, options));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#socket[Symbol.asyncDispose]();
  }
}

/** A TCP client; dispose it to hang up. */
export async function connectTcp({ address, port }: Endpoint): Promise<MessageConnection> {
  return new MessageConnection(await Deno.connect({ hostname: address.text, port }), undefined);
}

/** Ask a question over a TCP connection. */
export async function askTcp(connection: MessageConnection, bytes: Uint8Array): Promise<Decoded | undefined> {
  await connection.write(bytes);
  const answer = await connection.read(65_535);
  return answer && decode(answer);
}

/** What an upstream does with a query: messages that it sends back, at once or later, none for silence. */
export type Behaviour = (query: Decoded, tcp: boolean) => Uint8Array[] | Promise<Uint8Array[]>;

/** An answer to a query, as an upstream gives it. */
export function answerTo(query: Packet, answers: readonly Answer[], flags = 0): Uint8Array {
  const { id, questions } = query;
  return Uint8Array.from(
    packet.encode({ id, type: "response", flags: 0x180 | flags, questions, answers: [...answers] }),
  );
}

/** A record of an address, or of a name for PTR and CNAME. */
export function record(name: string, type: string, data: string, ttl = 60): Answer {
  return { name, type, class: "IN", ttl, data };
}

/** An upstream on UDP and TCP, both at one port. */
export class FakeUpstream implements AsyncDisposable {
  /** Queries that came, over both. */
  readonly queries: { readonly query: Decoded; readonly tcp: boolean; readonly port: number }[] = [];
  #listener!: Deno.TcpListener;
  readonly #running: Promise<void>[] = [];
  readonly #connections = new Set<MessageConnection>();

  private constructor(readonly behaviour: Behaviour) {}

  #socket!: UdpSocket;

  static async start(hostname: string, behaviour: Behaviour): Promise<FakeUpstream> {
    const upstream = new FakeUpstream(behaviour);
    for (;;) {
      upstream.#socket = await UdpSocket.open(parseAddress(hostname), (bytes, from) => {
        upstream.#running.push(upstream.#datagram(bytes, from));
      });
      try {
        upstream.#listener = Deno.listen({ hostname, port: upstream.#socket.local.port });
        break;
      } catch {
        await upstream.#socket[Symbol.asyncDispose]();
      }
    }
    upstream.#running.push(upstream.#accept());
    return upstream;
  }

  get endpoint(): Endpoint {
    return this.#socket.local;
  }

  /** Send what was not asked for. */
  send(bytes: Uint8Array, to: Endpoint): Promise<void> {
    return this.#socket.send(bytes, to);
  }

  async #datagram(bytes: Uint8Array, from: Endpoint): Promise<void> {
    for (const answer of await this.#handle(bytes, false, from.port)) await this.#socket.send(answer, from);
  }

  #handle(bytes: Uint8Array, tcp: boolean, port: number): ReturnType<Behaviour> {
    const query = decode(bytes);
    this.queries.push({ query, tcp, port });
    return this.behaviour(query, tcp);
  }

  async #accept(): Promise<void> {
    for await (const accepted of this.#listener) {
      const connection = new MessageConnection(accepted, undefined);
      this.#connections.add(connection);
      this.#running.push(this.#serve(connection, accepted.remoteAddr.port));
    }
  }

  async #serve(connection: MessageConnection, port: number): Promise<void> {
    for (let query; (query = await connection.read(65_535));) {
      for (const answer of await this.#handle(query, true, port)) await connection.write(answer);
    }
    connection[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) connection[Symbol.dispose]();
    await Promise.allSettled(this.#running);
    await this.#socket[Symbol.asyncDispose]();
  }
}

/** A directory with two VMs. */
export class FakeDirectory implements NameDirectory {
  readonly gateway4: Address = parseAddress("10.77.0.1");
  readonly gateway6: Address = parseAddress("fd77:6373:766e::1");
  readonly services = new Map<string, readonly (string | Address)[]>();
  readonly list: NamedVm[] = [vm("web", 10), vm("db", 11)];

  constructor(
    readonly network4: Network = Network.parse("10.77.0.0/16"),
    readonly network6: Network = Network.parse("fd77:6373:766e::/64"),
  ) {}

  vms(): Iterable<NamedVm> {
    return this.list;
  }

  get zone(): DirectoryZone {
    return new DirectoryZone(this);
  }
}

/** A VM. */
export function vm(name: string, n: number): NamedVm {
  return {
    name,
    ipv4: parseAddress(`10.77.0.${n}`),
    ipv6: parseAddress(`fd77:6373:766e::${n}`),
  };
}
