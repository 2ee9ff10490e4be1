import type { Device } from "../circuit/plane.ts";
import { checked } from "../errno.ts";
import type { Descriptor, Queues, QueueSetup, Region } from "../vhost/transport.ts";
import { Layout } from "./abi.ts";
import type { Library } from "./library.ts";

const Row = Layout.region;
const Setup = Layout.queue_setup;

/** The virtqueues and routes of one VM. */
export class PlaneDevice implements Device, Queues, Disposable {
  readonly #symbols: Library["symbols"];
  readonly #close: () => void;

  /**
   * @param plane The plane's handle.
   * @param handle The device's own.
   * @param close Closes it.
   */
  constructor(library: Library, readonly plane: number, readonly handle: number, close: () => void) {
    this.#symbols = library.symbols;
    this.#close = close;
  }

  setMemory(regions: readonly Region[]): Promise<void> {
    return Promise.try(() => {
      const bytes = new Uint8Array(Row.size * Math.max(1, regions.length));
      const view = new DataView(bytes.buffer);
      regions.forEach((region, i) => {
        const at = Row.size * i;
        view.setBigUint64(at + Row.guest, region.guest, true);
        view.setBigUint64(at + Row.size_, region.size, true);
        view.setBigUint64(at + Row.user, region.user, true);
        view.setBigUint64(at + Row.offset, region.offset, true);
        view.setInt32(at + Row.fd, region.descriptor.fd, true);
      });
      checked(
        "map guest memory",
        this.#symbols.csvn_device_memory(this.plane, this.handle, bytes, regions.length),
      );
    });
  }

  startQueue(setup: QueueSetup): Promise<void> {
    return Promise.try(() => {
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
      checked(
        `start virtqueue ${setup.index}`,
        this.#symbols.csvn_queue_start(this.plane, this.handle, bytes),
      );
    });
  }

  setCall(queue: number, call: Descriptor | undefined): Promise<void> {
    return Promise.try(() => {
      checked(
        `change the call descriptor of virtqueue ${queue}`,
        this.#symbols.csvn_queue_set_call(this.plane, this.handle, queue, call?.release() ?? -1),
      );
    });
  }

  stopQueue(queue: number): Promise<number> {
    return Promise.try(() => {
      return checked(
        `stop virtqueue ${queue}`,
        this.#symbols.csvn_queue_stop(this.plane, this.handle, queue),
      );
    });
  }

  reply(ticket: number, response: Uint8Array<ArrayBuffer>): void {
    this.#symbols.csvn_device_reply(this.plane, this.handle, ticket, response, response.length);
  }

  announce(event: Uint8Array<ArrayBuffer>): void {
    checked(
      "announce an event",
      this.#symbols.csvn_device_announce(this.plane, this.handle, event, event.length),
    );
  }

  addRoute(id: number, peer: Device, peerId: number): void {
    if (!(peer instanceof PlaneDevice)) throw new TypeError("peer is not a device of this plane");
    checked(
      "add a route",
      this.#symbols.csvn_route_add(this.plane, this.handle, id, peer.handle, peerId),
    );
  }

  removeRoute(id: number): Promise<void> {
    this.#symbols.csvn_route_remove(this.plane, this.handle, id);
    return Promise.resolve();
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}
