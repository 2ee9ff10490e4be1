import type { Device } from "../circuit/plane.ts";
import { Errno, SystemError } from "../errno.ts";
import type { Descriptor, Queues, QueueSetup, Region } from "../vhost/transport.ts";
import { Command, Layout } from "./abi.ts";
import type { Boards, PortBoard } from "./boards.ts";
import type { Port } from "./port.ts";

const Row = Layout.region;
const Setup = Layout.queue_setup;

/**
 * Announcements that may wait for a driver to post buffers. All circuits of a VM may be reset at once, through no fault of its driver: those do
 * not count with the others.
 */
const ANNOUNCEMENTS_MAX = 8192;
const RESETS_MAX = 122_880;

/** Where a circuit's doorbells lead to. */
interface Route {
  /** undefined: to the same device. */
  readonly board: PortBoard | undefined;
  /** The place that the other port marks for this circuit. */
  readonly ownMark: number;
}

/** The virtqueues and routes of one VM, which its port has. */
export class PlaneDevice implements Device, Queues {
  readonly #routes = new Map<number, Route>();
  /** Announcements given, and resets; and how many of them were delivered when that was looked at last. */
  #announced = 0;
  #resets = 0;
  #delivered = 0;
  #deliveredResets = 0;

  constructor(readonly port: Port, readonly boards: Boards) {}

  async setMemory(regions: readonly Region[]): Promise<void> {
    const bytes = new Uint8Array(Row.size * regions.length);
    const view = new DataView(bytes.buffer);
    regions.forEach((region, i) => {
      const at = Row.size * i;
      view.setBigUint64(at + Row.guest, region.guest, true);
      view.setBigUint64(at + Row.size_, region.size, true);
      view.setBigUint64(at + Row.user, region.user, true);
      view.setBigUint64(at + Row.offset, region.offset, true);
      view.setInt32(at + Row.token, region.descriptor.fd, true);
    });
    await this.port.ask("map guest memory", Command.MEMORY, 0, 0, bytes);
  }

  async startQueue(setup: QueueSetup): Promise<void> {
    const bytes = new Uint8Array(Setup.size);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(Setup.features, setup.features, true);
    view.setBigUint64(Setup.desc, setup.desc, true);
    view.setBigUint64(Setup.used, setup.used, true);
    view.setBigUint64(Setup.avail, setup.avail, true);
    view.setUint32(Setup.index, setup.index, true);
    view.setUint32(Setup.size_, setup.size, true);
    view.setUint32(Setup.base, setup.base, true);
    view.setInt32(Setup.kick, setup.kick.release(), true);
    view.setInt32(Setup.call, setup.call?.release() ?? -1, true);
    await this.port.ask(`start virtqueue ${setup.index}`, Command.QUEUE_START, 0, 0, bytes);
  }

  async setCall(queue: number, call: Descriptor | undefined): Promise<void> {
    const what = `change the call descriptor of virtqueue ${queue}`;
    await this.port.ask(what, Command.QUEUE_CALL, queue, call?.release() ?? -1);
  }

  stopQueue(queue: number): Promise<number> {
    return this.port.ask(`stop virtqueue ${queue}`, Command.QUEUE_STOP, queue);
  }

  reply(ticket: number, response: Uint8Array): void {
    this.port.command(Command.REPLY, 0, ticket, response);
  }

  announce(event: Uint8Array, reset: boolean): void {
    if (!this.#hasRoom(reset)) this.#look();
    if (!this.#hasRoom(reset)) throw new SystemError("announce an event", Errno.ENOBUFS);
    if (reset) this.#resets++;
    else this.#announced++;
    this.port.command(Command.ANNOUNCE, 0, 0, event);
  }

  addRoute(id: number, peer: Device, peerId: number): void {
    if (!(peer instanceof PlaneDevice)) throw new TypeError("peer is not a device of this plane");
    if (peer === this) {
      this.#route(id, { board: undefined, ownMark: id }, peerId);
      return this.#route(peerId, { board: undefined, ownMark: peerId }, id);
    }
    const [here, there] = this.boards.between(this.port, peer.port);
    const mine = here.places.take();
    const theirs = there.places.take();
    if (mine === undefined || theirs === undefined) {
      if (mine !== undefined) here.places.give(mine);
      if (theirs !== undefined) there.places.give(theirs);
      throw new SystemError("add a route", Errno.ENFILE);
    }
    this.#route(id, { board: here, ownMark: mine }, theirs);
    peer.#route(peerId, { board: there, ownMark: theirs }, mine);
  }

  async removeRoute(id: number): Promise<void> {
    const route = this.#routes.get(id);
    if (!route) return;
    this.#routes.delete(id);
    // One that was killed marks what is looked at no longer: its boards are taken from the other ports.
    await this.port.obeyed(Command.UNROUTE, 0, id);
    // A mark of the other port that comes late is a wake too many for whoever has the place next.
    route.board?.places.give(route.ownMark);
  }

  #route(id: number, route: Route, mark: number): void {
    this.#routes.set(id, route);
    const bytes = new Uint8Array(Layout.route.size);
    const view = new DataView(bytes.buffer);
    view.setUint32(Layout.route.id, id, true);
    view.setInt32(Layout.route.board, route.board?.number ?? -1, true);
    view.setUint32(Layout.route.mark, mark, true);
    view.setUint32(Layout.route.own_mark, route.ownMark, true);
    this.port.command(Command.ROUTE, 0, 0, bytes);
  }

  #hasRoom(reset: boolean): boolean {
    return reset
      ? this.#resets - this.#deliveredResets < RESETS_MAX
      : this.#announced - this.#delivered < ANNOUNCEMENTS_MAX;
  }

  #look(): void {
    const { delivered, deliveredResets } = this.port.progress();
    this.#delivered = delivered;
    this.#deliveredResets = deliveredResets;
  }
}
