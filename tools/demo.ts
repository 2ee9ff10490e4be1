/**
 * `deno task demo`: two guests without a network device talk TCP through their own shared memory.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program's own output

import { configure, type LogRecord } from "@logtape/logtape";
import { delay } from "@std/async";
import { join } from "@std/path";
import { parseAddress, Switch } from "../mod.ts";
import { Guest, GuestError } from "./testbed/guest.ts";
import { TestbedError } from "./testbed/errors.ts";
import { BUILD_TOOLS, ensureHostTools } from "./testbed/host.ts";
import { ensureTestbed } from "./testbed/prepare.ts";
import { stderrProgress } from "./testbed/progress.ts";

const WEB = "10.77.0.10";
const CLIENT = "10.77.0.20";
const DENIED_PORT = 8080;

/** The demo's policy: the client may reach these ports of the web server, and nobody may reach anything else of it. */
const policy = (...ports: number[]): string =>
  `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
spec:
  podSelector:
    matchLabels: {app: web}
  ingress:
    - from:
        - podSelector:
            matchLabels: {app: client}
      ports: [${ports.map((port) => `{port: ${port}}`).join(", ")}]
`;

/** Counts what was shown, and stops at the first thing that is not so. */
class Checks {
  passed = 0;

  check(what: string, holds: boolean): void {
    console.log(`${holds ? "  ok" : "  NOT SO"}: ${what}`);
    if (!holds) throw new DemoError(`this should hold and does not: ${what}`);
    this.passed++;
  }
}

class DemoError extends Error {}

/** The switch's log, shown as it comes. */
class ShownLog {
  readonly lines: string[] = [];

  async start(): Promise<void> {
    await configure({
      reset: true,
      sinks: {
        show: (record: LogRecord) => {
          const line = record.message.map(String).join("");
          this.lines.push(line);
          console.log(`    switch | ${line}`);
        },
      },
      loggers: [
        { category: ["csvn"], lowestLevel: "info", sinks: ["show"] },
        // Every connection.
        { category: ["csvn", "circuit"], lowestLevel: "debug", sinks: ["show"], parentSinks: "override" },
        { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["show"] },
      ],
    });
  }

  /** A line like this one, which may take a moment to come. */
  async find(pattern: RegExp): Promise<boolean> {
    for (let i = 0; i < 200; i++) {
      if (this.lines.some((line) => pattern.test(line))) return true;
      await delay(10);
    }
    return false;
  }
}

/** Run a command in a guest, and show both. */
async function show(guest: Guest, command: string): Promise<{ code: number; stdout: string }> {
  console.log(`\n${guest.name}# ${command}`);
  const { code, stdout, stderr } = await guest.run(command);
  for (const line of `${stdout}${stderr}`.trimEnd().split("\n")) if (line) console.log(`    ${line}`);
  if (code !== 0) console.log(`    (exit status ${code})`);
  return { code, stdout };
}

async function demo(): Promise<number> {
  const checks = new Checks();
  const log = new ShownLog();
  await ensureHostTools(BUILD_TOOLS, stderrProgress);
  await ensureTestbed({ progress: stderrProgress });
  await log.start();
  const directory = await Deno.makeTempDir({ prefix: "csvn-demo-" });
  const sockets = { web: join(directory, "web.sock"), client: join(directory, "client.sock") };
  const file = join(directory, "policy.yaml");
  try {
    await Deno.writeTextFile(file, policy(80, 81, 6379));
    console.log(`A switch with two VMs, each on a socket of its own, and a policy:\n\n${policy(80, 81, 6379)}`);
    await using _csvn = await Switch.start({
      vms: [
        { name: "web", socket: sockets.web, address: parseAddress(WEB), labels: { app: "web" } },
        { name: "client", socket: sockets.client, address: parseAddress(CLIENT), labels: { app: "client" } },
      ],
      policy: { paths: [file] },
    });
    const booting = await Promise.allSettled([
      Guest.boot({ socket: sockets.web, name: "web" }),
      Guest.boot({ socket: sockets.client, name: "client" }),
    ]);
    await using guests = new AsyncDisposableStack();
    const [web, client] = booting.map((result) => {
      if (result.status === "rejected") throw result.reason;
      return guests.use(result.value);
    });
    await scenes(checks, log, web!, client!);
    await change(checks, log, file, client!);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  return checks.passed;
}

async function scenes(checks: Checks, log: ShownLog, web: Guest, client: Guest): Promise<void> {
  for (const guest of [web, client]) {
    const { stdout } = await show(guest, "uname -r; ls /sys/class/net; grep -l ^0x02 /sys/bus/pci/devices/*/class");
    const [, ...devices] = stdout.trim().split("\n").map((line) => line.trim());
    checks.check(`${guest.name} has no network device but lo and csvn0`, devices.join() === "csvn0,lo");
  }

  await show(
    web,
    "head -c 64M /dev/urandom >/var/www/html/file && nginx && sha256sum </var/www/html/file && ss -ltn | grep :80",
  );
  const { stdout: sent } = await web.run("sha256sum </var/www/html/file", { check: true });
  const { stdout: got } = await show(
    client,
    `curl -sS -w '%{stderr}%{size_download} bytes, %{speed_download} bytes/s\\n' http://${WEB}/file | sha256sum`,
  );
  checks.check("curl fetched 64 MiB from nginx with an equal checksum", got === sent && sent.length > 64);
  checks.check(
    "the switch's log has the circuit: both ends, direct, its bytes",
    await log.find(
      /closed: client 10\.77\.0\.20:\d+ -> web 10\.77\.0\.10:80, tcp direct, \d+ bytes there, 67\d{6} back/,
    ),
  );

  await show(web, "redis-server --daemonize yes --protected-mode no --save '' >/dev/null; sleep 1; redis-cli ping");
  const { stdout: redis } = await show(
    client,
    `redis-cli -h ${WEB} <<'END'\nset greeting "hello from another VM"\nget greeting\nEND`,
  );
  checks.check("a redis-cli session", redis.includes("OK") && redis.includes("hello from another VM"));

  const refused = await show(client, `curl -sS --max-time 10 http://${WEB}:81/`);
  checks.check("a port where nobody listens refuses", refused.code === 7);

  await show(web, `socat -t 120 TCP-LISTEN:${DENIED_PORT},fork,reuseaddr EXEC:/bin/date >/dev/null 2>&1 & sleep 0.5`);
  const denied = await show(client, `curl -sS --max-time 10 http://${WEB}:${DENIED_PORT}/`);
  checks.check("a connection that policy denies is refused as well", denied.code === 7);
  checks.check(
    "the log says who, where to and why",
    await log.find(/denied: client 10\.77\.0\.20:\d+ -> web 10\.77\.0\.10:8080: ingress of web: denied/),
  );
}

/** The policy changes while a download runs. */
async function change(checks: Checks, log: ShownLog, file: string, client: Guest): Promise<void> {
  const download = show(client, `curl -sS --limit-rate 4M -o /dev/null http://${WEB}/file`);
  const before = log.lines.length;
  for (let i = 0; i < 500 && !log.lines.slice(before).some((line) => /open: .*:80, tcp/.test(line)); i++) {
    await delay(10);
  }
  console.log("\nThe policy's file is changed: port 80 is not allowed any more.");
  await Deno.writeTextFile(file, policy(81, 6379));
  const { code } = await download;
  checks.check("a download that was running is cut at once", code === 56);
  checks.check("and a new one is refused", (await show(client, `curl -sS --max-time 10 http://${WEB}/`)).code === 7);
}

try {
  const started = performance.now();
  const passed = await demo();
  console.log(`\n${((performance.now() - started) / 1000).toFixed(0)} seconds`);
  console.log(`demo: all ${passed} checks passed`);
} catch (error) {
  const known = error instanceof DemoError || error instanceof GuestError || error instanceof TestbedError;
  console.error("demo failed:", known ? error.message : error);
  Deno.exit(1);
}
