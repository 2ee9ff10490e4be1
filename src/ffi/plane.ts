/**
 * The data plane as TypeScript sees it: the helper library's plane, its sessions and devices, and the loop that brings its
 * events. Theory of operation: a bell (`bell.ts`) rings when there are events; whatever came is taken and
 * handled at once, and without parking again as long as there is more. Handlers are synchronous. Set-ups alone can keep the
 * thread busy for ever: so it goes through the event loop once in a while.
 *
 * @module
 */

import type { ArenaMemory } from "../circuit/plane.ts";
import { checked } from "../errno.ts";
import type { Descriptor, FrontEnd } from "../vhost/transport.ts";
import { MemfdArena } from "./arena_memory.ts";
import { Bell } from "./bell.ts";
import { OwnedDescriptor } from "./descriptor.ts";
import { PlaneDevice } from "./device.ts";
import { type Credentials, decodeEvents, type PlaneEvent } from "./events.ts";
import { PlaneHostStack } from "./host_stack.ts";
import type { Library } from "./library.ts";

const EVENT_QUEUE_BYTES = 1 << 20;
const BUFFER_BYTES = 256 << 10;
/** Milliseconds after which everything else in this thread has its turn, however many events there are. */
const TURN_MS = 1;
/** Events whose answers drivers are interrupted for at once: more would keep them waiting while there is work for them. */
const SIGNAL_EVENTS = 32;

/** The data plane's counters: totals since it was opened; `sessions`, `devices` and `routes` are those of now. */
export interface PlaneCounters {
  /** Events delivered to JavaScript. */
  events: number;
  /** Times that JavaScript parked. */
  parks: number;
  /** Circuit ids taken from doorbell queues. */
  doorbells: number;
  /** Circuit ids put on wake queues. */
  wakes: number;
  /** Doorbells for circuits that are not there. */
  strays: number;
  /** Interrupts sent to drivers. */
  calls: number;
  /** Requests taken from control queues. */
  requests: number;
  /** Events put on event queues. */
  announcements: number;
  /** Times that a queue waited because the event queue to JavaScript was full. */
  stalls: number;
  sessions: number;
  devices: number;
  routes: number;
  /** Circuits to the host's stack, now. */
  hostCircuits: number;
  /** Turns of the pump. */
  hostTurns: number;
  /** Bytes from guests to the host's stack. */
  hostReceived: number;
  /** Bytes from the host's stack to guests. */
  hostSent: number;
  /** Datagrams that were not permitted, or for which there was no room. */
  hostDropped: number;
  /** Times that descriptors were short, so that nothing was accepted for a while. */
  rests: number;
}

/** The counters, in their C order. */
export const counterNames = [
  "events",
  "parks",
  "doorbells",
  "wakes",
  "strays",
  "calls",
  "requests",
  "announcements",
  "stalls",
  "sessions",
  "devices",
  "routes",
  "hostCircuits",
  "hostTurns",
  "hostReceived",
  "hostSent",
  "hostDropped",
  "rests",
] as const satisfies (keyof PlaneCounters)[];

/** Told about a session. */
export interface SessionHandler {
  message(request: number, flags: number, payload: Uint8Array, descriptors: readonly Descriptor[]): void;
  backendMessage(request: number, flags: number, payload: Uint8Array, descriptors: readonly Descriptor[]): void;
  /** The connection is over. */
  end(reason: string): void;
  /** The back-end channel is over. */
  backendEnd(reason: string): void;
}

/** Told about a device. */
export interface DeviceHandler {
  /**
   * @param request At most the first 128 bytes of what the driver sent; they are valid until it returns.
   * @param size How many bytes it sent.
   * @param room How many bytes the response may have.
   */
  control(ticket: number, request: Uint8Array<ArrayBuffer>, size: number, room: number): void;
  fault(queue: number, reason: string): void;
}

/** Told about a new front-end; returns what handles its session, or undefined when it has turned it away, which closes it. */
export type AcceptHandler = (frontEnd: FrontEnd, credentials: Credentials) => SessionHandler | undefined;

/** A front-end's connection. */
class PlaneFrontEnd implements FrontEnd {
  constructor(readonly plane: Plane, readonly session: number) {}

  send(bytes: Uint8Array<ArrayBuffer>): void {
    this.plane.symbols.csvn_session_send(this.plane.handle, this.session, bytes, bytes.length, -1);
  }

  attachBackend(descriptor: Descriptor): Promise<void> {
    return Promise.try(() => {
      const rc = this.plane.symbols.csvn_backend_attach(this.plane.handle, this.session, descriptor.release());
      checked("take over the back-end channel", rc);
    });
  }

  sendBackend(bytes: Uint8Array<ArrayBuffer>, fd: number): boolean {
    return this.plane.symbols.csvn_backend_send(this.plane.handle, this.session, bytes, bytes.length, fd) >= 0;
  }

  close(): void {
    this.plane.closeSession(this.session);
  }
}

/** A data plane. Dispose it to stop its thread and release all that it holds. */
export class Plane implements AsyncDisposable {
  readonly symbols: Library["symbols"];
  readonly handle: number;
  /** The host's stack. */
  readonly host: PlaneHostStack;
  /** Told when listening sockets rest, for want of descriptors: the errno; and 0 when they do not any more. */
  short: (errno: number) => void = () => {};
  readonly #accepts = new Map<number, AcceptHandler>();
  readonly #sessions = new Map<number, SessionHandler>();
  readonly #devices = new Map<number, DeviceHandler>();
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  /** When others are to have their turn; as {@linkcode performance.now}. */
  #turnEnds = 0;
  #closing = false;
  #loop: Promise<void> | undefined;

  /**
   * @param library The opened helper library; it must outlive the plane.
   * @param report Told about an exception of a handler, which is a bug of ours: the loop goes on.
   * @throws {SystemError}
   */
  constructor(readonly library: Library, readonly report: (error: unknown) => void) {
    this.symbols = library.symbols;
    this.handle = checked("open a data plane", library.symbols.csvn_plane_open(EVENT_QUEUE_BYTES));
    this.host = new PlaneHostStack(library, this.handle);
  }

  /**
   * Start delivering events.
   *
   * @throws {Error} as {@linkcode Bell.hang}.
   */
  async start(): Promise<void> {
    this.#loop = this.#run(await Bell.hang(this.symbols, this.handle));
  }

  /**
   * Start the stand-in: the process that answers front-ends when this one is gone, since QEMU does not survive that their connections end.
   *
   * @param path Its program.
   * @throws {SystemError} ENOENT, EACCES, …
   */
  startStandIn(path: string): void {
    const bytes = new TextEncoder().encode(path);
    checked(`start ${path}`, this.symbols.csvn_standin_start(this.handle, bytes, bytes.length));
  }

  /** The switch is about to end: a stand-in, where there is one, goes on with the front-ends, and this plane does nothing more with them. */
  handOver(): void {
    this.symbols.csvn_standin_hand_over(this.handle);
  }

  /**
   * Listen for front-ends on a unix socket.
   *
   * @param mode Permission bits of the socket.
   * @returns A function that ends listening and removes the socket.
   * @throws {SystemError} EADDRINUSE, EACCES, ENOENT, ENAMETOOLONG, …
   */
  listen(path: string, mode: number, accept: AcceptHandler): () => void {
    const bytes = new TextEncoder().encode(path);
    const rc = this.symbols.csvn_listen(this.handle, bytes, bytes.length, mode);
    const listener = checked(`listen on ${path}`, rc);
    this.#accepts.set(listener, accept);
    return () => {
      this.#accepts.delete(listener);
      this.symbols.csvn_unlisten(this.handle, listener);
    };
  }

  /** Make a device. @throws {SystemError} */
  openDevice(handler: DeviceHandler): PlaneDevice {
    const device = checked("open a device", this.symbols.csvn_device_open(this.handle));
    this.#devices.set(device, handler);
    return new PlaneDevice(this.library, this.handle, device, () => this.closeDevice(device));
  }

  /** Make an arena's memory. @throws {SystemError} */
  arena(length: number): ArenaMemory {
    return new MemfdArena(this.library, length);
  }

  /** What the data plane has counted. */
  counters(): PlaneCounters {
    const values = new BigUint64Array(counterNames.length);
    const bytes = new Uint8Array(values.buffer);
    checked("read the counters", this.symbols.csvn_counters(this.handle, bytes, bytes.length));
    return Object.fromEntries(counterNames.map((name, i) => [name, Number(values[i])])) as unknown as PlaneCounters;
  }

  /** How many sessions are handled. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Close a session; nothing more is heard of it. */
  closeSession(session: number): void {
    this.#sessions.delete(session);
    this.symbols.csvn_session_close(this.handle, session);
  }

  /** Close a device; nothing more is heard of it. */
  closeDevice(device: number): void {
    this.#devices.delete(device);
    this.symbols.csvn_device_close(this.handle, device);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    this.symbols.csvn_events_wake(this.handle);
    await this.#loop;
    this.symbols.csvn_plane_close(this.handle);
  }

  async #run(hung: Bell): Promise<void> {
    using bell = hung;
    this.#turnEnds = performance.now() + TURN_MS;
    while (!this.#closing) {
      const bytes = checked("take events", this.symbols.csvn_events_take(this.handle, this.#buffer, BUFFER_BYTES));
      if (bytes > 0) {
        await this.#deliver(bytes);
      } else {
        await bell.rung();
        this.#turnEnds = performance.now() + TURN_MS;
      }
    }
  }

  /** Handle a batch of events, all of it, also while the plane closes: there may be descriptors in it. */
  async #deliver(bytes: number): Promise<void> {
    let count = 0;
    for (const event of decodeEvents(this.#buffer, bytes)) {
      if (count++ % SIGNAL_EVENTS === 0) {
        if (performance.now() >= this.#turnEnds) await this.#yield();
        this.symbols.csvn_signals(this.handle, 1);
      }
      try {
        this.#dispatch(event);
      } catch (error) {
        this.report(error);
      }
    }
    if (count > 0) this.symbols.csvn_signals(this.handle, 0);
  }

  /** Let timers, requests on the API and file watches have their turn. Nothing of drivers waits for us but what comes next. */
  async #yield(): Promise<void> {
    this.symbols.csvn_signals(this.handle, 0);
    await this.symbols.csvn_turn();
    this.#turnEnds = performance.now() + TURN_MS;
  }

  #dispatch(event: PlaneEvent): void {
    switch (event.kind) {
      case "accepted": {
        const accept = this.#accepts.get(event.listener);
        if (!accept) return this.closeSession(event.session);
        const handler = accept(new PlaneFrontEnd(this, event.session), event.credentials);
        if (handler) this.#sessions.set(event.session, handler);
        return;
      }
      case "message":
      case "backend-message": {
        const descriptors = event.fds.map((fd) => new OwnedDescriptor(this.library, fd));
        const handler = this.#sessions.get(event.session);
        if (!handler) descriptors.forEach((descriptor) => descriptor[Symbol.dispose]());
        else if (event.kind === "message") handler.message(event.request, event.flags, event.payload, descriptors);
        else handler.backendMessage(event.request, event.flags, event.payload, descriptors);
        return;
      }
      case "session-end":
        return this.#sessions.get(event.session)?.end(event.reason);
      case "backend-end":
        return this.#sessions.get(event.session)?.backendEnd(event.reason);
      case "control":
        return this.#devices.get(event.device)?.control(event.ticket, event.request, event.size, event.room);
      case "device-fault":
        return this.#devices.get(event.device)?.fault(event.queue, event.reason);
      case "short":
        return this.short(event.errno);
      default:
        return this.host.event(event);
    }
  }
}
