/**
 * One front-end's connection, tied to its port and a VM of the operator.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { DirectoryError } from "../circuit/directory.ts";
import type { Device, Mapper } from "../circuit/plane.ts";
import type { Clock } from "../clock.ts";
import type { Operator } from "../circuit/operator.ts";
import { QUEUES } from "../circuit/records.ts";
import { SystemError } from "../errno.ts";
import type { Vm } from "../circuit/vm.ts";
import type { Enforcer, Member } from "./enforcer.ts";
import type { Names } from "./names.ts";
import type { PortGroups, PortResources } from "./port_groups.ts";
import type { DeviceHandler, SessionHandler } from "../ffi/plane.ts";
import { ProtocolError } from "../vhost/protocol.ts";
import { Session } from "../vhost/session.ts";
import type { Descriptor, FrontEnd, Queues } from "../vhost/transport.ts";

const log = getLogger(["csvn", "vhost"]);

/** A front-end's connection, and the device that is its alone. */
export interface ServedFrontEnd extends FrontEnd {
  readonly device: Device & Queues;
  /** Told about the device. */
  handler: DeviceHandler | undefined;
  /** Whose it is, for people. */
  named(owner: string): void;
}

/** What a front-end's connection is served with. */
export interface FrontEndContext {
  readonly operator: Operator;
  readonly names: Names;
  readonly enforcer: Enforcer;
  /** The VM as policies see it. */
  readonly member: (vm: Vm) => Member;
  readonly windowBytes: number;
  /** The configured VM whose socket it is. */
  readonly reserved: string | undefined;
  /** Those that are being served: each adds itself, and removes itself at its end. */
  readonly live: Set<FrontEndVm>;
  readonly clock: Clock;
  /** Where its port is put; undefined: where the switch is. */
  readonly groups: PortGroups | undefined;
  readonly resources: PortResources;
}

/** Milliseconds that a front-end waits for the end of the one before it, which may have gone a moment ago. */
const SUCCESSION_MS = 5000;

/** A front-end and its VM, from connection to end. */
export class FrontEndVm implements SessionHandler {
  readonly #session: Session;
  readonly #vm: Vm;
  readonly #over = Promise.withResolvers<void>();
  #ended = false;
  #grouped = false;
  #saidOld = false;

  private constructor(readonly frontEnd: ServedFrontEnd, readonly context: FrontEndContext) {
    const { operator } = context;
    frontEnd.handler = {
      control: (ticket, request, size, room) => operator.control(this.#vm, ticket, request, size, room),
      fault: (queue, reason) => operator.queueFault(this.#vm, queue, reason),
    };
    this.#session = new Session(frontEnd, {
      queues: frontEnd.device,
      queueCount: QUEUES,
      windowBytes: BigInt(context.windowBytes),
      config: () => operator.config(this.#vm),
      isArena: (identity) => operator.arenas.has(identity),
      started: () => this.#started(),
      stopped: () => operator.stopped(this.#vm),
    });
    const { backend } = this.#session;
    const mapper: Mapper = {
      get overdue(): boolean {
        return backend.overdue;
      },
      map: (fd: number, offset: number, length: number) => backend.map(fd, 0n, BigInt(offset), BigInt(length)),
      unmap: (offset: number, length: number) => backend.unmap(BigInt(offset), BigInt(length)),
      answered: () => backend.answered(),
    };
    this.#vm = operator.attach(frontEnd.device, mapper, context.reserved);
    frontEnd.named(this.#vm.name);
    context.live.add(this);
    try {
      context.enforcer.add(context.member(this.#vm));
      context.names.attach(this.#vm);
    } catch (error) {
      this.end("it could not be served");
      throw error;
    }
  }

  /** Sockets at which a front-end waits for the end of the one before it. */
  static readonly #heirs = new WeakSet<FrontEndContext>();

  /**
   * Serve a front-end. One that comes to a configured VM's socket just after another has gone waits until that is known. One that cannot be served, for whatever reason, is turned away, with a line in the log: it would wait for an answer
   * for ever.
   *
   * @returns What handles its session; undefined when it was turned away.
   */
  static async serve(frontEnd: ServedFrontEnd, context: FrontEndContext): Promise<SessionHandler | undefined> {
    await this.#succeed(context);
    try {
      return new FrontEndVm(frontEnd, context);
    } catch (error) {
      if (error instanceof DirectoryError || error instanceof SystemError) {
        log.error("front-end turned away: {reason}", { reason: error.message });
      } else log.error("front-end turned away, by a bug of csvn's: {error}", { error });
      frontEnd.close();
      return undefined;
    }
  }

  /** The one before it at a configured VM's socket ends, or is there for a while: one waits for that at a time. */
  static async #succeed(context: FrontEndContext): Promise<void> {
    const { reserved, live, clock } = context;
    const before = [...live].find((other) => other.#vm.name === reserved);
    if (reserved === undefined || !before || this.#heirs.has(context)) return;
    this.#heirs.add(context);
    const late = Promise.withResolvers<void>();
    const timer = clock.after(SUCCESSION_MS, late.resolve);
    await Promise.race([before.#over.promise, late.promise]);
    timer.cancel();
    this.#heirs.delete(context);
  }

  async begun(pid: number): Promise<void> {
    const { groups, resources } = this.context;
    if (!groups || this.#ended) return;
    this.#grouped = true;
    await groups.enter(this.#vm.name, pid, resources);
  }

  message(request: number, flags: number, payload: Uint8Array, descriptors: readonly Descriptor[]): void {
    this.#session.message(request, flags, payload, descriptors).catch((error) => this.#failed(error));
  }

  backendMessage(request: number, flags: number, payload: Uint8Array, descriptors: readonly Descriptor[]): void {
    try {
      this.#session.backendMessage(request, flags, payload, descriptors);
    } catch (error) {
      this.#failed(error as Error);
    }
  }

  end(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.context.live.delete(this);
    this.#session[Symbol.dispose]();
    this.context.names.detach(this.#vm);
    this.context.operator.detach(this.#vm, reason);
    this.context.enforcer.remove(this.#vm.name);
    this.frontEnd.close();
    if (this.#grouped) {
      this.context.groups?.leave(this.#vm.name).catch((error) =>
        log.error("{vm}: {error}", { vm: this.#vm.name, error })
      );
    }
    this.#over.resolve();
  }

  backendEnd(reason: string): void {
    log.debug("{vm}: back-end channel closed: {reason}", { vm: this.#vm.name, reason });
    this.#session.backend.close();
  }

  #started(): void {
    this.context.operator.up(this.#vm);
    if (this.#session.canMap) return;
    // Its guest can start its device as often as it likes.
    if (!this.#saidOld) {
      log.error("{vm}: its front-end does not offer shared-memory regions: QEMU 11.1 or newer is needed", {
        vm: this.#vm.name,
      });
    }
    this.#saidOld = true;
    this.context.operator.fault(this.#vm, "front-end without shared-memory regions");
  }

  #failed(error: Error): void {
    if (this.#ended) return;
    const { message: reason } = error;
    if (error instanceof ProtocolError) {
      const names = { vm: this.#vm.name, reason };
      log.error("{vm}: its front-end broke the vhost-user protocol: {reason}; session ended", names);
      return this.end(`protocol error: ${reason}`);
    }
    // It would wait for its answer for ever.
    log.error("{vm}: session ended, by a bug of csvn's: {error}", { vm: this.#vm.name, error });
    this.end(`internal error: ${reason}`);
  }
}
