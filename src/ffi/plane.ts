/**
 * The data plane as TypeScript sees it: the helper library's plane, its sessions and devices, and the loop that brings its
 * events. Theory of operation: one parked call (`csvn_events_wait`) waits for events; whatever came is taken and
 * handled at once, and without parking again as long as there is more. Handlers are synchronous.
 *
 * @module
 */

import type { ArenaMemory, Device } from "../circuit/plane.ts";
import { SystemError } from "../errno.ts";
import type { Descriptor, FrontEnd, Queues, QueueSetup, Region } from "../vhost/transport.ts";
import { MemfdArena } from "./arena_memory.ts";
import { OwnedDescriptor } from "./descriptor.ts";
import { type Credentials, decodeEvents, type PlaneEvent } from "./events.ts";
import type { Library } from "./library.ts";

const EVENT_QUEUE_BYTES = 1 << 20;
const BUFFER_BYTES = 256 << 10;
const PARK_MS = 60_000;
const REGION_BYTES = 40;
const QUEUE_SETUP_BYTES = 56;

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
}

const counterNames = [
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
   * @param request At most the first 128 bytes of what the driver sent.
   * @param size How many bytes it sent.
   * @param room How many bytes the response may have.
   */
  control(ticket: number, request: Uint8Array<ArrayBuffer>, size: number, room: number): void;
  fault(queue: number, reason: string): void;
}

/** Told about a new front-end; returns what handles its session. */
export type AcceptHandler = (frontEnd: FrontEnd, credentials: Credentials) => SessionHandler;

function check(action: string, rc: number): number {
  if (rc < 0) throw new SystemError(action, -rc);
  return rc;
}

/** A front-end's connection. */
class PlaneFrontEnd implements FrontEnd {
  constructor(readonly plane: Plane, readonly session: number) {}

  send(bytes: Uint8Array<ArrayBuffer>): void {
    this.plane.symbols.csvn_session_send(this.plane.handle, this.session, bytes, bytes.length, -1);
  }

  attachBackend(descriptor: Descriptor): void {
    const rc = this.plane.symbols.csvn_backend_attach(this.plane.handle, this.session, descriptor.release());
    check("take over the back-end channel", rc);
  }

  sendBackend(bytes: Uint8Array<ArrayBuffer>, fd: number): boolean {
    return this.plane.symbols.csvn_backend_send(this.plane.handle, this.session, bytes, bytes.length, fd) >= 0;
  }

  close(): void {
    this.plane.closeSession(this.session);
  }
}

/** The virtqueues and routes of one VM. */
export class PlaneDevice implements Device, Queues, Disposable {
  constructor(readonly plane: Plane, readonly handle: number) {}

  setMemory(regions: readonly Region[]): void {
    const bytes = new Uint8Array(REGION_BYTES * Math.max(1, regions.length));
    const view = new DataView(bytes.buffer);
    regions.forEach((region, i) => {
      const at = REGION_BYTES * i;
      view.setBigUint64(at, region.guest, true);
      view.setBigUint64(at + 8, region.size, true);
      view.setBigUint64(at + 16, region.user, true);
      view.setBigUint64(at + 24, region.offset, true);
      view.setInt32(at + 32, region.descriptor.fd, true);
    });
    check(
      "map guest memory",
      this.plane.symbols.csvn_device_memory(this.plane.handle, this.handle, bytes, regions.length),
    );
  }

  startQueue(setup: QueueSetup): void {
    const bytes = new Uint8Array(QUEUE_SETUP_BYTES);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, setup.features, true);
    view.setBigUint64(8, setup.desc, true);
    view.setBigUint64(16, setup.used, true);
    view.setBigUint64(24, setup.avail, true);
    view.setUint32(32, setup.index, true);
    view.setUint32(36, setup.size, true);
    view.setUint32(40, setup.base, true);
    view.setInt32(44, setup.kick.release(), true);
    view.setInt32(48, setup.call?.release() ?? -1, true);
    check(
      `start virtqueue ${setup.index}`,
      this.plane.symbols.csvn_queue_start(this.plane.handle, this.handle, bytes),
    );
  }

  setCall(queue: number, call: Descriptor | undefined): void {
    check(
      `change the call descriptor of virtqueue ${queue}`,
      this.plane.symbols.csvn_queue_set_call(this.plane.handle, this.handle, queue, call?.release() ?? -1),
    );
  }

  stopQueue(queue: number): number {
    return check(
      `stop virtqueue ${queue}`,
      this.plane.symbols.csvn_queue_stop(this.plane.handle, this.handle, queue),
    );
  }

  reply(ticket: number, response: Uint8Array<ArrayBuffer>): void {
    this.plane.symbols.csvn_device_reply(this.plane.handle, this.handle, ticket, response, response.length);
  }

  announce(event: Uint8Array<ArrayBuffer>): void {
    check(
      "announce an event",
      this.plane.symbols.csvn_device_announce(this.plane.handle, this.handle, event, event.length),
    );
  }

  addRoute(id: number, peer: Device, peerId: number): void {
    if (!(peer instanceof PlaneDevice)) throw new TypeError("peer is not a device of this plane");
    check(
      "add a route",
      this.plane.symbols.csvn_route_add(this.plane.handle, this.handle, id, peer.handle, peerId),
    );
  }

  removeRoute(id: number): void {
    this.plane.symbols.csvn_route_remove(this.plane.handle, this.handle, id);
  }

  [Symbol.dispose](): void {
    this.plane.closeDevice(this.handle);
  }
}

/** A data plane. Dispose it to stop its thread and release all that it holds. */
export class Plane implements AsyncDisposable {
  readonly symbols: Library["symbols"];
  readonly handle: number;
  readonly #accepts = new Map<number, AcceptHandler>();
  readonly #sessions = new Map<number, SessionHandler>();
  readonly #devices = new Map<number, DeviceHandler>();
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #closing = false;
  #loop: Promise<void> | undefined;

  /**
   * @param library The opened helper library; it must outlive the plane.
   * @param report Told about an exception of a handler, which is a bug of ours: the loop goes on.
   * @throws {SystemError}
   */
  constructor(readonly library: Library, readonly report: (error: unknown) => void) {
    this.symbols = library.symbols;
    this.handle = check("open a data plane", library.symbols.csvn_plane_open(EVENT_QUEUE_BYTES));
  }

  /** Start delivering events. */
  start(): void {
    this.#loop ??= this.#run();
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
    const listener = check(`listen on ${path}`, rc);
    this.#accepts.set(listener, accept);
    return () => {
      this.#accepts.delete(listener);
      this.symbols.csvn_unlisten(this.handle, listener);
    };
  }

  /** Make a device. @throws {SystemError} */
  openDevice(handler: DeviceHandler): PlaneDevice {
    const device = check("open a device", this.symbols.csvn_device_open(this.handle));
    this.#devices.set(device, handler);
    return new PlaneDevice(this, device);
  }

  /** Make an arena's memory. @throws {SystemError} */
  arena(length: number): ArenaMemory {
    return new MemfdArena(this.library, length);
  }

  /** What the data plane has counted. */
  counters(): PlaneCounters {
    const values = new BigUint64Array(counterNames.length);
    const bytes = new Uint8Array(values.buffer);
    check("read the counters", this.symbols.csvn_counters(this.handle, bytes, bytes.length));
    return Object.fromEntries(counterNames.map((name, i) => [name, Number(values[i])])) as unknown as PlaneCounters;
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

  async #run(): Promise<void> {
    while (!this.#closing) {
      const bytes = this.symbols.csvn_events_take(this.handle, this.#buffer, BUFFER_BYTES) ||
        await this.symbols.csvn_events_wait(this.handle, this.#buffer, BUFFER_BYTES, PARK_MS);
      if (bytes < 0) throw new SystemError("wait for events", -bytes);
      for (const event of decodeEvents(this.#buffer, bytes)) {
        try {
          this.#dispatch(event);
        } catch (error) {
          this.report(error);
        }
      }
    }
  }

  #dispatch(event: PlaneEvent): void {
    switch (event.kind) {
      case "accepted": {
        const accept = this.#accepts.get(event.listener);
        if (!accept) return this.closeSession(event.session);
        this.#sessions.set(event.session, accept(new PlaneFrontEnd(this, event.session), event.credentials));
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
    }
  }
}
