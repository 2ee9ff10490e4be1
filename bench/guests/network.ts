/**
 * What connects two guests, and a guest with its host.
 *
 * @module
 */

import type { Guest } from "../../tools/testbed/guest.ts";
import type { HostSide } from "./host.ts";

/** Ports of the servers, the same everywhere. */
export const PORTS = { talk: 5001, iperf: 5201, http: 8080, redis: 6379 } as const;

/** Which server. */
export type Service = keyof typeof PORTS;

/** Where a client finds the servers of one place. */
export interface Route {
  /** Address and port of a service; undefined where it speaks no IP. */
  readonly ip?: ((service: Service) => readonly [address: string, port: number]) | undefined;
  /** As `talk` takes it. */
  readonly talk: string;
  /** As the server's `talk` takes it. */
  readonly talkServer: string;
  /** Bytes of a stream's writes; 64 KiB unless the network cannot. */
  readonly piece?: number;
}

/** A network with its guests; disposing it ends them. */
export interface Network extends AsyncDisposable {
  /** The guest that asks. */
  readonly client: Guest;
  /** The guest that serves; the same, where a guest talks with itself. */
  readonly server: Guest;
  /** The host that serves. */
  readonly host: HostSide;
  /** From guest to guest. */
  readonly toGuest: Route;
  /** From guest to host, where that is possible. */
  readonly toHost?: Route;
  /** Are streams over mapped circuits possible? */
  readonly mapped?: boolean;
}

/** A network's name, and how it is made. */
export interface NetworkKind {
  readonly who: string;
  make(): Promise<Network>;
}

/** A route by TCP and UDP to an address; `shift` is added to ports. */
export function ipRoute(address: string, shift = 0): Route {
  return {
    ip: (service) => [address, PORTS[service] + shift],
    talk: `tcp:${address}:${PORTS.talk + shift}`,
    talkServer: `tcp:0.0.0.0:${PORTS.talk}`,
  };
}
