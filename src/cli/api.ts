/**
 * The switch's status over HTTP on a unix socket: `GET /v1/status`, JSON.
 *
 * @module
 */

import { Errno, SystemError } from "../errno.ts";
import type { Switch, SwitchStatus } from "../host/switch.ts";

/** Remove a socket that nobody listens on any more, such as that of a switch that was killed. */
async function removeDead(path: string): Promise<void> {
  if (!(await Deno.lstat(path).catch(() => undefined))?.isSocket) return;
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) await Deno.remove(path);
  }
}

/** Serve a switch's status. @throws {SystemError} when the path cannot be listened on. */
export async function serveApi(path: string, csvn: Switch): Promise<AsyncDisposable> {
  await removeDead(path);
  let server: Deno.HttpServer<Deno.UnixAddr>;
  try {
    server = Deno.serve({ path, onListen: () => {} }, (request) => {
      const { pathname } = new URL(request.url);
      if (pathname !== "/v1/status") return Response.json({ error: `no such resource: ${pathname}` }, { status: 404 });
      if (request.method !== "GET") return Response.json({ error: "use GET" }, { status: 405 });
      return Response.json(csvn.status());
    });
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) throw new SystemError(`listen on ${path}`, Errno.EADDRINUSE);
    if (error instanceof Deno.errors.NotFound) throw new SystemError(`listen on ${path}`, Errno.ENOENT);
    if (error instanceof Deno.errors.PermissionDenied) throw new SystemError(`listen on ${path}`, Errno.EACCES);
    throw error;
  }
  Deno.chmodSync(path, 0o600);
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      await server.shutdown();
      try {
        Deno.removeSync(path);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    },
  };
}

/** Ask a running switch for its status. @throws {Error} when none answers. */
export async function fetchStatus(path: string): Promise<SwitchStatus> {
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  const response = await fetch("http://csvn/v1/status", { client, signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`the switch on ${path} answered ${response.status}: ${await response.text()}`);
  return await response.json();
}

/** A status as text for people. */
export function formatStatus(status: SwitchStatus): string {
  const lines = [
    `VMs: ${status.vms.length}`,
    ...status.vms.map((vm) =>
      `  ${vm.name} ${vm.state} ${vm.ipv4} ${vm.ipv6}: ` +
      `${vm.circuits} circuits, ${vm.listeners} listeners, ${vm.attempts} attempts, ${vm.arenas} arenas`
    ),
    `circuits: ${status.circuits.open} open, ${status.circuits.total} in all`,
    `arenas: ${status.arenas.length}`,
    ...status.arenas.map((arena) =>
      `  ${arena.number} between ${arena.vms.join(" and ")}: ` +
      `${arena.circuits} circuits, ${arena.pages} pages in use of ${arena.bytes / 4096}`
    ),
    `descriptors: ${status.descriptors}`,
    `data plane: ${Object.entries(status.plane).map(([name, value]) => `${name} ${value}`).join(", ")}`,
  ];
  return lines.join("\n") + "\n";
}
