/**
 * A fake of the host's stack, for units: it listens and opens what it is told to, refuses what the kernel would refuse, and is as
 * strict as the data plane about what is used after its end.
 *
 * @module
 */

import type {
  HostArena,
  HostCircuit,
  HostCircuitHandler,
  HostCircuitSetup,
  HostConnection,
  HostConnectionHandler,
  HostDatagram,
  HostDatagramHandler,
  HostListener,
  HostStack,
} from "../../src/circuit/host.ts";
import type { SocketOptions } from "../../src/circuit/records.ts";
import { Errno, SystemError } from "../../src/errno.ts";
import { type Endpoint, formatEndpoint, parseAddress } from "../../src/net/address.ts";

/** A connection from the host's network, and what became of it. */
export class FakeConnection implements HostConnection {
  static #port = 30_000;
  readonly remote: Endpoint = { address: parseAddress("192.0.2.9"), port: FakeConnection.#port++ };
  state: "new" | "taken" | "refused" = "new";
  handler: HostConnectionHandler | undefined;

  refuse(): void {
    if (this.state === "taken") throw new Error("refused after it was taken over");
    this.state = "refused";
    this.handler = undefined;
  }

  wait(handler: HostConnectionHandler): void {
    if (this.state !== "new") throw new Error(`waits after it was ${this.state}`);
    this.handler = handler;
  }

  /** The client goes away. */
  leave(): void {
    const { handler } = this;
    this.handler = undefined;
    handler?.gone();
  }
}

/** A host's end of a stream. */
export class FakeHostCircuit implements HostCircuit {
  finished = false;
  disposed = false;
  readonly options: SocketOptions[] = [];

  constructor(
    readonly setup: HostCircuitSetup,
    readonly to: Endpoint | HostConnection,
    readonly handler: HostCircuitHandler,
  ) {}

  finish(): void {
    if (this.disposed) throw new Error("finished after its end");
    this.finished = true;
  }

  setOptions(options: SocketOptions): void {
    if (this.disposed) throw new Error("options after its end");
    this.options.push(options);
  }

  [Symbol.dispose](): void {
    this.disposed = true;
  }
}

/** A host's end of datagrams. */
export class FakeHostDatagram implements HostDatagram {
  readonly rules = new Map<string, boolean>();
  disposed = false;

  constructor(
    readonly stack: FakeHostStack,
    readonly bind: Endpoint | undefined,
    readonly handler: HostDatagramHandler,
  ) {}

  permit(guest: Endpoint, _actual: Endpoint, allowed: boolean, _errno: number): void {
    if (this.disposed) throw new Error("permit after its end");
    this.rules.set(formatEndpoint(guest), allowed);
  }

  forget(guest: Endpoint): void {
    if (!this.rules.delete(formatEndpoint(guest))) throw new Error("forgot what was not known");
  }

  moved(): { readonly sent: bigint; readonly received: bigint } {
    if (this.disposed) throw new Error("asked after its end");
    return { sent: 0n, received: 0n };
  }

  finish(): void {
    this.handler.done(0n, 0n, 0);
  }

  setOptions(): void {
    throw new Error("datagrams have no options of their own");
  }

  [Symbol.dispose](): void {
    if (this.disposed) return;
    this.disposed = true;
    if (this.bind) this.stack.release("udp", this.bind);
  }
}

/** Such a stack. */
export class FakeHostStack implements HostStack {
  readonly circuits: FakeHostCircuit[] = [];
  readonly datagrams: FakeHostDatagram[] = [];
  /** Who listens or is bound, by protocol and endpoint. */
  readonly taken = new Map<string, ((connection: HostConnection) => void) | undefined>();
  /** Listening and binding fail with this; 0: they do as the kernel. */
  bindErrno = 0;
  /** How often somebody has tried. */
  attempts = 0;

  mapArena(): HostArena {
    return { [Symbol.dispose]: () => {} };
  }

  open(setup: HostCircuitSetup, to: Endpoint | HostConnection, handler: HostCircuitHandler): HostCircuit {
    if (to instanceof FakeConnection) {
      if (to.state !== "new") throw new Error(`taken over after it was ${to.state}`);
      to.state = "taken";
      to.handler = undefined;
    }
    const circuit = new FakeHostCircuit(setup, to, handler);
    this.circuits.push(circuit);
    return circuit;
  }

  openDatagram(_setup: HostCircuitSetup, bind: Endpoint | undefined, handler: HostDatagramHandler): HostDatagram {
    if (bind) this.#take("udp", bind, undefined);
    const datagram = new FakeHostDatagram(this, bind, handler);
    this.datagrams.push(datagram);
    return datagram;
  }

  listen(local: Endpoint, accept: (connection: HostConnection) => void): HostListener {
    this.#take("tcp", local, accept);
    return { port: local.port, [Symbol.dispose]: () => this.release("tcp", local) };
  }

  /** A connection comes in. */
  dial(local: Endpoint): FakeConnection {
    const accept = this.taken.get(`tcp ${formatEndpoint(local)}`);
    if (!accept) throw new SystemError("connect", Errno.ECONNREFUSED);
    const connection = new FakeConnection();
    accept(connection);
    return connection;
  }

  /** Somebody binds no more. */
  release(protocol: string, local: Endpoint): void {
    if (!this.taken.delete(`${protocol} ${formatEndpoint(local)}`)) throw new Error("released what was not bound");
  }

  #take(protocol: string, local: Endpoint, accept: ((connection: HostConnection) => void) | undefined): void {
    const key = `${protocol} ${formatEndpoint(local)}`;
    this.attempts++;
    const errno = this.bindErrno || (this.taken.has(key) ? Errno.EADDRINUSE : 0);
    if (errno !== 0) throw new SystemError(`bind ${key}`, errno);
    this.taken.set(key, accept);
  }
}
