/**
 * Real guests on a test switch.
 *
 * @module
 */

import { parseAddress } from "../../src/net/address.ts";
import type { SwitchOptions } from "../../src/host/switch.ts";
import { Guest, type GuestOptions } from "../../tools/testbed/guest.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { startTestSwitch, type TestSwitch } from "./test_switch.ts";

/** A switch with guests, each on a socket of its own. */
export interface GuestNet extends AsyncDisposable {
  readonly net: TestSwitch;
  /** By name. */
  readonly guests: Record<string, Guest>;
  /** Address of a VM. */
  address(name: string): string;
  /** Path of a VM's socket. */
  socket(name: string): string;
}

/**
 * Start a switch, and boot a guest for each name, all at once.
 *
 * @param others Names of VMs that get a socket but no guest.
 */
export async function bootGuests(
  names: readonly string[],
  options: {
    guest?: GuestOptions;
    net?: Omit<SwitchOptions, "sockets" | "vms">;
    others?: readonly string[];
    /** Kernels of guests that are not to have the usual one, by name. */
    kernels?: Record<string, NonNullable<GuestOptions["kernel"]>>;
  } = {},
): Promise<GuestNet> {
  const all = [...names, ...options.others ?? []];
  const address = (name: string): string => `10.77.0.${10 * (all.indexOf(name) + 1)}`;
  const stack = new AsyncDisposableStack();
  const net = stack.use(
    await startTestSwitch({
      ...options.net,
      vms: all.map((name) => ({ name, socket: `./${name}.sock`, address: parseAddress(address(name)) })),
    }),
  );
  const socket = (name: string): string => `${net.directory}/${name}.sock`;
  const booted = await Promise.allSettled(
    names.map((name) => {
      const kernel = options.kernels?.[name];
      return Guest.boot({
        ...options.guest,
        ...(kernel && { kernel }),
        name,
        socket: socket(name),
        progress: stderrProgress,
      });
    }),
  );
  const guests: Record<string, Guest> = {};
  let failure: PromiseRejectedResult | undefined;
  booted.forEach((result, i) => {
    if (result.status === "fulfilled") guests[names[i]!] = stack.use(result.value);
    else failure = result;
  });
  if (failure) {
    await stack.disposeAsync();
    throw failure.reason;
  }
  return { net, guests, address, socket, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
