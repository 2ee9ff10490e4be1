/**
 * Taking csvn's device out of a running guest and putting it back.
 *
 * QEMU's device does not reconnect to a switch that was restarted; this is what
 * works instead. The guest must have been booted with `hotplug: true`.
 */
import { deadline } from "@std/async";
import { resolve } from "@std/path";
import type { Guest } from "./guest.ts";
import { DEVICE_ID } from "./qemu_args.ts";

/** A guest whose driver has to unbind may take its time, in milliseconds. */
const UNPLUG_TIMEOUT_MS = 30_000;

/**
 * Unplug the device, and wait until the guest has let go of it.
 *
 * Throws a TimeoutError if the guest does not within 30 s.
 */
export async function unplugDevice(guest: Guest): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = guest.onEvent(({ event, data }) => {
    if (
      event === "DEVICE_DELETED" && data["device"] === `${DEVICE_ID}-device`
    ) {
      resolve();
    }
  });
  try {
    await guest.qmp("device_del", { id: `${DEVICE_ID}-device` });
    await deadline(promise, UNPLUG_TIMEOUT_MS);
  } finally {
    stop();
  }
  await guest.qmp("chardev-remove", { id: DEVICE_ID });
}

/** Plug the device in, connected to the switch at this socket. */
export async function plugDevice(guest: Guest, socket: string): Promise<void> {
  await guest.qmp("chardev-add", {
    id: DEVICE_ID,
    backend: {
      type: "socket",
      data: {
        addr: { type: "unix", data: { path: resolve(socket) } },
        server: false,
      },
    },
  });
  await guest.qmp("device_add", {
    driver: "vhost-user-test-device-pci",
    id: `${DEVICE_ID}-device`,
    bus: "rp1",
    chardev: DEVICE_ID,
    "virtio-id": 21,
    num_vqs: 4,
    vq_size: 1024,
    config_size: 128,
  });
}
