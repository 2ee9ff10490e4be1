/**
 * The switch's status and policies over HTTP on a unix socket, in JSON: see docs/configuration.md.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { Errno, SystemError } from "../errno.ts";
import type { Switch, SwitchStatus } from "../host/switch.ts";
import { PolicyError } from "../policy/files.ts";
import { QuestionError } from "../policy/question.ts";

const log = getLogger(["csvn", "api"]);

/** Remove a socket that nobody listens on any more, such as that of a switch that was killed. */
async function removeDead(path: string): Promise<void> {
  if (!(await Deno.lstat(path).catch(() => undefined))?.isSocket) return;
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) await Deno.remove(path);
  }
}

/** What is done with a request. */
type Handler = (url: URL, request: Request) => Promise<unknown> | unknown;

/** Bytes of a request's body. */
const BODY_MAX = 1 << 16;

/** What there is: `METHOD path`. */
function resources(csvn: Switch): ReadonlyMap<string, Handler> {
  return new Map<string, Handler>([
    ["GET /v1/status", () => csvn.status()],
    ["GET /v1/policy", () => csvn.policy.status()],
    ["POST /v1/policy/reload", () => csvn.policy.reload("somebody asked for it")],
    ["GET /v1/policy/explain", ({ searchParams }) => {
      const [from, to] = [searchParams.get("from"), searchParams.get("to")];
      if (from === null || to === null) throw new RequestError("from=… and to=… are expected");
      return csvn.policy.explain(from, to);
    }],
    ["POST /v1/policy/diff", async (_url, request) => csvn.policy.preview(await readPaths(request))],
  ]);
}

/** A request is wrong; the message says how. */
class RequestError extends Error {
  override readonly name = "RequestError";
}

async function readPaths(request: Request): Promise<string[]> {
  const length = Number(request.headers.get("content-length") ?? NaN);
  if (!(length <= BODY_MAX)) throw new RequestError(`a body of up to ${BODY_MAX} bytes with its length is expected`);
  const { paths } = (await request.json().catch(() => undefined) ?? {}) as { paths?: unknown };
  if (!Array.isArray(paths) || paths.length === 0 || !paths.every((path) => typeof path === "string" && path !== "")) {
    throw new RequestError('{"paths": ["…"]} is expected');
  }
  return paths;
}

async function answer(handlers: ReadonlyMap<string, Handler>, request: Request): Promise<Response> {
  const url = new URL(request.url);
  const handler = handlers.get(`${request.method} ${url.pathname}`);
  if (!handler) {
    const methods = [...handlers.keys()].map((key) => key.split(" ")).filter(([, path]) => path === url.pathname);
    if (methods.length === 0) return Response.json({ error: `no such resource: ${url.pathname}` }, { status: 404 });
    return Response.json({ error: `use ${methods.map(([method]) => method).join(" or ")}` }, { status: 405 });
  }
  try {
    return Response.json(await handler(url, request));
  } catch (error) {
    const theirs = [RequestError, QuestionError, PolicyError].some((kind) => error instanceof kind);
    if (!theirs) log.error("a bug of csvn's: {error}", { error });
    return Response.json({ error: (error as Error).message }, { status: theirs ? 400 : 500 });
  }
}

async function listen(path: string, handlers: ReadonlyMap<string, Handler>): Promise<Deno.HttpServer<Deno.UnixAddr>> {
  await removeDead(path);
  let server: Deno.HttpServer<Deno.UnixAddr>;
  try {
    server = Deno.serve({ path, onListen: () => {} }, (request) => answer(handlers, request));
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) throw new SystemError(`listen on ${path}`, Errno.EADDRINUSE);
    if (error instanceof Deno.errors.NotFound) throw new SystemError(`listen on ${path}`, Errno.ENOENT);
    if (error instanceof Deno.errors.PermissionDenied) throw new SystemError(`listen on ${path}`, Errno.EACCES);
    throw error;
  }
  Deno.chmodSync(path, 0o600);
  return server;
}

/** Milliseconds after which a server that has ended by itself is started anew. */
const RESTART_MS = 500;

/**
 * Serve a switch's status and policies. Deno's server ends for good when it cannot accept a connection, as without a free
 * descriptor: it is started anew then, until this is disposed.
 *
 * @throws {SystemError} when the path cannot be listened on.
 */
export async function serveApi(path: string, csvn: Switch): Promise<AsyncDisposable> {
  const handlers = resources(csvn);
  const { promise: stopped, resolve: stop } = Promise.withResolvers<"stopped">();
  let server: Deno.HttpServer<Deno.UnixAddr> | undefined = await listen(path, handlers);
  const keep = async (): Promise<void> => {
    for (let said = false;;) {
      const how = server && await Promise.race([stopped, server.finished.catch((error: Error) => error.message)]);
      if (how === "stopped") return;
      if (!said) log.error("the API has ended and is started anew: {reason}", { reason: how ?? "it cannot listen" });
      said = true;
      server = undefined;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const rested = new Promise<void>((resolve) => timer = setTimeout(resolve, RESTART_MS));
      const stops = await Promise.race([stopped, rested]);
      clearTimeout(timer);
      if (stops) return;
      server = await listen(path, handlers).catch(() => undefined);
      if (server) log.info("the API answers again on {path}", { path });
      if (server) said = false;
    }
  };
  const kept = keep();
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      stop("stopped");
      await kept;
      await server?.shutdown();
      try {
        Deno.removeSync(path);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    },
  };
}

/** A running switch does not answer, or says that something is wrong. */
export class ApiError extends Error {
  override readonly name = "ApiError";
}

/** Milliseconds that a switch has to answer. */
const ANSWER_MS = 60_000;

/** Why a request was not answered, in words: what `fetch` says is "fetch failed", and the rest in its cause. */
function whyNot(path: string, error: Error): string {
  if (error.name === "TimeoutError") return `nothing came within ${ANSWER_MS / 1000} s`;
  const cause = error.cause instanceof Error ? error.cause.message : error.message;
  switch (Number(/os error (\d+)/.exec(cause)?.[1])) {
    case Errno.ENOENT:
      return "there is no such file";
    case Errno.EACCES:
      return "no permission";
    case Errno.ECONNREFUSED:
      return isSocket(path) ? "nobody listens there" : "it is no socket";
    default:
      return cause.split("\n")[0]!;
  }
}

function isSocket(path: string): boolean {
  try {
    return Deno.statSync(path).isSocket === true;
  } catch {
    return false;
  }
}

/**
 * Ask a running switch.
 *
 * @param resource Such as `/v1/status`.
 * @throws {ApiError}
 */
export async function ask<T>(path: string, resource: string, init: RequestInit = {}): Promise<T> {
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  let response: Response;
  try {
    // Not a name: Deno would ask the resolver for it, wherever the proxy leads, and wait for its answer.
    response = await fetch(`http://127.0.0.1${resource}`, { ...init, client, signal: AbortSignal.timeout(ANSWER_MS) });
  } catch (error) {
    throw new ApiError(`no switch answers on ${path}: ${whyNot(path, error as Error)}`);
  }
  const body = await response.json().catch(() => ({ error: `status ${response.status}` }));
  if (!response.ok) throw new ApiError(String(body.error));
  return body;
}

/** A status as text for people. */
export function formatStatus(status: SwitchStatus): string {
  const lines = [
    `VMs: ${status.vms.length}`,
    ...status.vms.map((vm) =>
      `  ${vm.name} ${vm.state} ${vm.ipv4} ${vm.ipv6}: ` +
      `${vm.circuits} circuits, ${vm.listeners} listeners, ${vm.attempts} attempts, ${vm.arenas} arenas, ` +
      `${vm.hiddenNames} questions for hidden names`
    ),
    `circuits: ${status.circuits.open} open, ${status.circuits.total} in all`,
    `arenas: ${status.arenas.length}`,
    ...status.arenas.map((arena) =>
      `  ${arena.number} between ${arena.vms.join(" and ")}: ` +
      `${arena.circuits} circuits, ${arena.pages} pages in use of ${arena.bytes / 4096}`
    ),
    `published ports: ${status.publications.length}`,
    ...status.publications.map(({ host, protocol, vm, port, state, error }) =>
      `  ${host}/${protocol} to ${vm}:${port} ${state}${error === undefined ? "" : `: ${error}`}`
    ),
    `ports: ${status.ports.length}`,
    ...status.ports.map(({ vm, pid, state, reason }) =>
      `  ${vm} ${state}${pid === undefined ? "" : `, process ${pid}`}${reason === undefined ? "" : `: ${reason}`}`
    ),
    `descriptors: ${status.descriptors}`,
    `data plane: ${Object.entries(status.plane).map(([name, value]) => `${name} ${value}`).join(", ")}`,
  ];
  return lines.join("\n") + "\n";
}
