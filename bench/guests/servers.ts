/**
 * The servers that are asked, in a guest or on the host.
 *
 * @module
 */

import { ensureHostProgram, type ProgramSource } from "../../tools/testbed/host_programs.ts";
import type { Guest } from "../../tools/testbed/guest.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { BenchFailure, type HostSide } from "./host.ts";
import { PORTS, type Route } from "./network.ts";

/** The guests' own packages, for the host. */
const HOST_PACKAGES: ProgramSource = { suite: "trixie", packages: ["nginx-light", "redis-server"] };
const REDIS = ["--port", `${PORTS.redis}`, "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "''"];
/** Seconds that iperf3 may wait for its client. */
const IPERF_IDLE = 60;

/** nginx's configuration: a file of a kibibyte, and nothing written for a request. */
function nginxConf(directory: string, master: boolean): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return [
    "user root; daemon off;",
    ...(master ? ["worker_processes 2;"] : ["master_process off;"]),
    `pid ${directory}/nginx.pid; error_log ${directory}/nginx-error.log;`,
    "events { worker_connections 512; }",
    "http { access_log off; sendfile on; keepalive_requests 1000000000;",
    ...temporary.map((name) => `  ${name}_temp_path ${directory}/${name};`),
    `  server { listen ${PORTS.http}; root ${directory}/www; }`,
    "}",
  ].join("\n");
}

/** A program that serves one `iperf3` client and then ends: the next one finds a fresh one. */
export function iperfServer(): string[] {
  return ["iperf3", "--server", "--one-off", "--port", `${PORTS.iperf}`, "--idle-timeout", `${IPERF_IDLE}`];
}

/** Put `talk` into a guest. @param talk The program's bytes. */
export async function installTalk(guest: Guest, talk: Uint8Array): Promise<void> {
  await guest.run("cat >/usr/local/bin/talk && chmod +x /usr/local/bin/talk", { stdin: talk, check: true });
}

/** Start all servers in a guest that has `talk`. */
export async function serveInGuest(guest: Guest, route: Route): Promise<void> {
  guest.spawn(`exec talk serve ${route.talkServer} >/tmp/talk.log 2>&1`, { stdin: false });
  if (!route.ip) return;
  await guest.run("mkdir -p /tmp/nginx/www && head -c 1024 /dev/zero | tr '\\0' x >/tmp/nginx/www/index.html", {
    check: true,
  });
  await guest.run("cat >/tmp/nginx/nginx.conf", { stdin: nginxConf("/tmp/nginx", true), check: true });
  guest.spawn("exec nginx -c /tmp/nginx/nginx.conf >/tmp/nginx/log 2>&1", { stdin: false });
  guest.spawn(`exec redis-server ${REDIS.join(" ")} >/tmp/redis.log 2>&1`, { stdin: false });
  await listening((command) => guest.run(command));
}

/** Start all servers on the host. `talk` is its program's path. */
export async function serveOnHost(host: HostSide, route: Route, talk: string): Promise<void> {
  host.start("talk", [talk, "serve", route.talkServer]);
  if (!route.ip) {
    await host.appears(route.talkServer.slice("unix:".length).split("/").at(-1)!, "talk");
    return;
  }
  await host.run(`mkdir -p ${host.path("www")} && head -c 1024 /dev/zero | tr '\\0' x >${host.path("www/index.html")}`);
  await Deno.writeTextFile(host.path("nginx.conf"), nginxConf(host.directory, false));
  const nginx = await ensureHostProgram(HOST_PACKAGES, "usr/sbin/nginx", stderrProgress);
  const redis = await ensureHostProgram(HOST_PACKAGES, "usr/bin/redis-server", stderrProgress);
  host.start("nginx", [...nginx, "-e", host.path("nginx-early.log"), "-c", host.path("nginx.conf")]);
  host.start("redis", [...redis, ...REDIS.map((word) => word === "''" ? "" : word)]);
  await listening((command) => host.run(command));
}

/** Wait until all of them listen. */
async function listening(run: (command: string) => Promise<{ stdout: string }>): Promise<void> {
  const wanted = [PORTS.talk, PORTS.http, PORTS.redis];
  for (const end = Date.now() + 30_000; Date.now() < end;) {
    const { stdout } = await run("ss -Hltn");
    if (wanted.every((port) => stdout.includes(`:${port} `))) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new BenchFailure(`not all of the ports ${wanted.join(", ")} are listened on`);
}
