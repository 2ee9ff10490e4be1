/**
 * The data plane as TypeScript sees it: the sockets that front-ends connect to, and a port for each that has (`port.ts`).
 *
 * Theory of operation. A thread of the helper library accepts connections, and waits for what ports ring for and for their ends; the plane's bell says that there is any of it. What ports tell is
 * handled in turns (`ports.ts`).
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { ArenaMemory } from "../circuit/plane.ts";
import { type Clock, systemClock } from "../clock.ts";
import { checked, SystemError } from "../errno.ts";
import type { Descriptor, FrontEnd } from "../vhost/transport.ts";
import { Command, Layout } from "./abi.ts";
import { MemfdArena } from "./arena_memory.ts";
import { Bell } from "./bell.ts";
import { Boards } from "./boards.ts";
import { Token } from "./descriptor.ts";
import { PlaneDevice } from "./device.ts";
import type { PortEvent, TokenEvent } from "./events.ts";
import { Heartbeat } from "./heartbeat.ts";
import { PlaneHostStack } from "./host_stack.ts";
import { Janitor } from "./janitor.ts";
import { type Library, portPath } from "./library.ts";
import { Pace, type PaceLimits } from "./pace.ts";
import { Port, type PortState } from "./port.ts";
import { Ports } from "./ports.ts";

const log = getLogger(["csvn", "port"]);

/** Milliseconds that ports have to end when the plane does. */
const END_MS = 5000;
/**
 * Ports of one socket that were killed and have not ended, with which it still takes front-ends. Each takes a process's place in the system: whoever can make ports that cannot be killed
 * runs out of them before anybody else does.
 */
const KILLED_MAX = 8;
/**
 * How often a port is started for a front-end of a socket. It costs milliseconds, of the host's and of this thread's: whoever connects again and again gets no more of those. A VM has one
 * front-end at a time; a socket for any number of VMs may have them all come at once.
 */
export const OWN_SOCKET: PaceLimits = { burst: 8, ms: 250 };
export const SHARED_SOCKET: PaceLimits = { burst: 256, ms: 50 };
/** Where the switch is root, a port's user and group are this plus its process id, which is at most 2 ** 22. */
const FIRST_ID = 2_000_000_000;

/** What ports count, in the order of `csvn_counters`. */
export const counterNames = [
  "doorbells",
  "wakes",
  "strays",
  "calls",
  "requests",
  "announcements",
  "stalls",
  "hostTurns",
  "hostReceived",
  "hostSent",
  "hostDropped",
  "rests",
  "busyPolled",
  "routes",
  "hostCircuits",
] as const;

/** The data plane's counters: the sums of the ports that there are; `ports`, `routes` and `hostCircuits` are those of now. */
export interface PlaneCounters {
  ports: number;
  /** Events that were told to this thread. */
  events: number;
  /** Times that it had nothing to do for ports, and slept. */
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
  /** Times that a queue waited because there was no room for events. */
  stalls: number;
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
  /** Nanoseconds of busy-polling before sleeping. */
  busyPolled: number;
  routes: number;
  /** Circuits to the host's stack, now. */
  hostCircuits: number;
}

/** A port, for people. */
export interface PortStatus {
  /** The VM whose it is, or was. */
  readonly vm: string;
  /** Its process. */
  readonly pid: number | undefined;
  readonly state: PortState;
  /** Why it was killed, if it was. */
  readonly reason: string | undefined;
}

/** Peer credentials of a front-end. */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Told about a session. */
export interface SessionHandler {
  /** Its port has begun. When it rejects, the port is killed. */
  begun(pid: number): Promise<void>;
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

/**
 * Told about a new front-end; returns what handles its session, or undefined when it has turned it away, which closes it. Until it has resolved, nothing is read from the
 * front-end. It never rejects.
 */
export type AcceptHandler = (frontEnd: PlaneFrontEnd, credentials: Credentials) => Promise<SessionHandler | undefined>;

/** A front-end's connection, and the device that is its alone. */
export class PlaneFrontEnd implements FrontEnd {
  readonly device: PlaneDevice;
  /** Told about the device. */
  handler: DeviceHandler | undefined;

  constructor(readonly port: Port, boards: Boards) {
    this.device = new PlaneDevice(port, boards);
  }

  send(bytes: Uint8Array): void {
    this.port.command(Command.SEND, 0, 0, bytes);
  }

  async attachBackend(descriptor: Descriptor): Promise<void> {
    await this.port.ask("take over the back-end channel", Command.BACKEND_ATTACH, descriptor.release());
  }

  sendBackend(bytes: Uint8Array, fd: number): boolean {
    if (this.port.gone) return false;
    if (fd < 0) {
      this.port.command(Command.BACKEND_SEND, -1, 0, bytes);
      return true;
    }
    const { file } = this.port.give(fd);
    this.port.command(Command.BACKEND_SEND, file, 0, bytes);
    this.port.command(Command.FILE_CLOSE, file);
    return true;
  }

  named(owner: string): void {
    this.port.owner = owner;
    this.port.title = `the port of ${owner}`;
  }

  close(): void {
    this.port.end();
  }
}

/** A data plane. Dispose it to stop its thread and end its ports, but for those that were handed over. */
export class Plane implements AsyncDisposable {
  /** The host's stack. */
  readonly host = new PlaneHostStack();
  /** Told when listening sockets rest, for want of descriptors: the errno; and 0 when they do not any more. */
  short: (errno: number) => void = () => {};
  /** Told of each port when it begins: has it a user of its own, and what does its jail lack? Mostly nothing, which is "". */
  jailed: (ownUser: boolean, lacks: string) => void = () => {};
  readonly #all: Ports;
  readonly #boards: Boards;
  readonly #janitor: Janitor;
  readonly #accepts = new Map<number, { readonly accept: AcceptHandler; readonly pace: Pace }>();
  /** Until they are over, and those of which something is to be had. */
  readonly #ports = new Map<number, Port>();
  readonly #alive = new Map<number, Port>();
  /** Those that were killed and are not over, with the sockets that their front-ends came on. */
  readonly #killed = new Map<Port, number>();
  readonly #heartbeat: Heartbeat;
  #rests = 0;
  #closing = false;

  private constructor(
    readonly library: Library,
    readonly handle: number,
    bell: Bell,
    report: (error: unknown) => void,
    clock: Clock,
  ) {
    this.#boards = new Boards(library, clock);
    this.#heartbeat = new Heartbeat(clock, this.#alive);
    this.#all = new Ports(library, handle, clock, bell, () => this.#look(), report);
    this.#janitor = new Janitor(this.#all);
  }

  /**
   * Open a data plane.
   *
   * @param library The opened helper library; it must outlive the plane.
   * @param descriptors That each port may have, if the switch may have as many.
   * @param report Told about an exception of a handler, which is a bug of ours: the loop goes on.
   * @throws {SystemError}
   */
  static async open(
    library: Library,
    descriptors: number,
    report: (error: unknown) => void,
    clock: Clock = systemClock,
  ): Promise<Plane> {
    const program = new TextEncoder().encode(portPath());
    const [bell, handle] = await Bell.hang((path) => {
      return checked(
        "open a data plane",
        library.symbols.csvn_plane_open(program, program.length, path, path.length, FIRST_ID, descriptors),
      );
    });
    return new Plane(library, handle, bell, report, clock);
  }

  /** The switch is about to end: ports go on with their front-ends, and this plane does nothing more with them. */
  handOver(): void {
    for (const port of [...this.#ports.values()]) port.release();
  }

  /**
   * Listen for front-ends on a unix socket.
   *
   * @param mode Permission bits of the socket.
   * @param limits How often a front-end is served; others wait.
   * @returns A function that ends listening and removes the socket.
   * @throws {SystemError} EADDRINUSE, EACCES, ENOENT, ENAMETOOLONG, …
   */
  listen(path: string, mode: number, accept: AcceptHandler, limits = SHARED_SOCKET): () => void {
    const { symbols } = this.library;
    const bytes = new TextEncoder().encode(path);
    const listener = checked(`listen on ${path}`, symbols.csvn_listen(this.handle, bytes, bytes.length, mode));
    const pace = new Pace(this.#all.clock, limits);
    this.#accepts.set(listener, { accept, pace });
    return () => {
      pace[Symbol.dispose]();
      this.#accepts.delete(listener);
      symbols.csvn_unlisten(this.handle, listener);
    };
  }

  /** Make an arena's memory. @param vms Those that will have it, by name. @throws {SystemError} */
  arena(length: number, vms: readonly string[] = []): ArenaMemory {
    return new MemfdArena(this.library, length, vms, this.#janitor);
  }

  /** What the ports have counted. */
  counters(): PlaneCounters {
    const sums = Object.fromEntries(counterNames.map((name) => [name, 0])) as unknown as PlaneCounters;
    let events = 0;
    for (const port of this.#alive.values()) {
      port.progress().counters.forEach((value, i) => sums[counterNames[i]!] += value);
      events += port.events;
    }
    return { ...sums, ports: this.#alive.size, events, parks: this.#all.slept };
  }

  /** Descriptors that this process has open. @throws {SystemError} */
  get descriptors(): number {
    return checked("count descriptors", this.library.symbols.csvn_fd_count());
  }

  /** The ports, and what became of them, until they are over. */
  get ports(): PortStatus[] {
    return [...this.#ports.values()].map(({ owner = "", pid, state, reason }) => ({ vm: owner, pid, state, reason }));
  }

  /** The janitors' processes: one, after the first circuit has ended; another for arenas whose holders keep it waiting; more, while others are stuck. */
  get janitors(): number[] {
    return this.#janitor.processes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    for (const { pace } of this.#accepts.values()) pace[Symbol.dispose]();
    this.#heartbeat[Symbol.dispose]();
    for (const port of this.#alive.values()) port.end();
    this.#janitor.close();
    const until = performance.now() + END_MS;
    while ((this.#alive.size > 0 || this.#janitor.ends) && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    for (const port of [...this.#ports.values()]) port.release();
    this.#janitor.release();
    await this.#all.close();
    this.library.symbols.csvn_plane_close(this.handle);
  }

  /** Front-ends may have come, and ports ended; descriptors may be short, or not any more. */
  #look(): void {
    const { symbols } = this.library;
    const signal = new Int32Array(1);
    for (let ended: number; (ended = symbols.csvn_ended_take(this.handle, new Uint8Array(signal.buffer))) >= 0;) {
      const how = signal[0] === 0 ? "has ended" : `was ended by signal ${signal[0]}`;
      this.#all.known.get(ended)?.ends(how);
    }
    const out = new Uint8Array(Layout.accepted.size);
    while (symbols.csvn_accepted_take(this.handle, out) === 1) {
      this.#accepted(new DataView(out.slice().buffer)).catch(this.#all.report);
    }
    const rests = symbols.csvn_plane_short(this.handle);
    if (rests === this.#rests) return;
    this.#rests = rests;
    this.short(rests);
  }

  async #accepted(who: DataView): Promise<void> {
    const handle = who.getInt32(Layout.accepted.port, true);
    const listener = who.getInt32(Layout.accepted.listener, true);
    const port = new Port(this.#all, handle);
    // The next one of the socket does not come before this one is served.
    await this.#accepts.get(listener)?.pace.turn();
    const accept = this.#accepts.get(listener)?.accept;
    if (!accept || this.#closing) return port.lost("nobody listens any more");
    if ([...this.#killed.values()].filter((other) => other === listener).length >= KILLED_MAX) {
      log.error("front-end turned away: {count} ports of its socket were killed, and have not ended", {
        count: KILLED_MAX,
      });
      return port.lost("too many ports of its socket have not ended");
    }
    const frontEnd = new PlaneFrontEnd(port, this.#boards);
    let session: SessionHandler | undefined = undefined;
    this.#ports.set(handle, port);
    this.#alive.set(handle, port);
    this.#heartbeat.begin();
    port.ended = (reason) => {
      this.#alive.delete(handle);
      if (port.state !== "over") this.#killed.set(port, listener);
      this.#boards.portGone(port);
      this.host.portGone(port);
      session?.end(reason);
    };
    port.over = () => {
      this.#ports.delete(handle);
      this.#killed.delete(port);
    };
    const handler = session = await accept(frontEnd, {
      pid: who.getInt32(Layout.accepted.pid, true),
      uid: who.getUint32(Layout.accepted.uid, true),
      gid: who.getUint32(Layout.accepted.gid, true),
    });
    if (!handler) return port.lost("it was turned away");
    if (port.gone) return handler.end("the switch stops");
    port.handler = (event) => this.#dispatch(frontEnd, handler, event);
    try {
      await port.start();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      return port.lost(`its port cannot be started: ${error.message}`);
    }
    const { pid } = port;
    try {
      if (pid !== undefined) await handler.begun(pid);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      port.fail(`it cannot have what it may: ${error.message}`);
    }
  }

  #dispatch(frontEnd: PlaneFrontEnd, session: SessionHandler, event: PortEvent): void {
    const tokens = (events: readonly TokenEvent[]): Token[] => {
      return events.map(({ token, identity }) => new Token(frontEnd.port, token, identity));
    };
    switch (event.kind) {
      case "message":
        return session.message(event.request, event.flags, event.payload, tokens(event.tokens));
      case "backend-message":
        return session.backendMessage(event.request, event.flags, event.payload, tokens(event.tokens));
      case "session-end":
        return session.end(event.reason);
      case "backend-end":
        return session.backendEnd(event.reason);
      case "control":
        return frontEnd.handler?.control(event.ticket, event.request, event.size, event.room);
      case "device-fault":
        return frontEnd.handler?.fault(event.queue, event.reason);
      case "short":
        return this.short(event.errno);
      case "jailed":
        return this.jailed(event.ownUser, event.lacks);
      case "result":
        return;
      default:
        return this.host.event(frontEnd.port, event);
    }
  }
}
