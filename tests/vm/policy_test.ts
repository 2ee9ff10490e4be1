/**
 * Policies on real guests: between VMs, to the outside by address and by name, from published ports; and what a change does to
 * connections that carry data.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Guest } from "../../tools/testbed/guest.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { Namespaces, OUTSIDE, SWITCH } from "../support/namespaces.ts";
import { circuitPolicy, networkPolicy } from "../support/policies.ts";
import { until } from "../support/until.ts";

const project = new URL("../../", import.meta.url).pathname;
const decoder = new TextDecoder();
const WAIT = 20_000;

const config = (directory: string): string => `
vms:
  - name: web
    socket: ${directory}/web.sock
    address: 10.77.0.10
    labels: {app: web}
    ports: [{name: http, port: 80}]
  - name: db
    socket: ${directory}/db.sock
    address: 10.77.0.20
    labels: {app: db}
    ports: [{name: postgres, port: 5432}]
    onDeny: drop
  - name: box
    socket: ${directory}/box.sock
    address: 10.77.0.30
    namespace: sandboxes
    onDeny: prohibit
policy: [${directory}/policies]
auditLog: ${directory}/audit.jsonl
publish: ["${SWITCH.v4}:8080=web:80", "${SWITCH.v4}:5000=web:5000/udp"]
resolvers: ["${OUTSIDE.v4}"]
api: ${directory}/api.sock
`;

/** What iperf3 measures on, and a port of datagrams. */
const measuring = (...ports: number[]): string =>
  [...ports.map((port) => ["TCP", port] as const), ["UDP", 7000] as const].map(([protocol, port]) =>
    `${
      networkPolicy(
        `{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}], ports: [{protocol: ${protocol}, port: ${port}}]}]}`,
        `db-${port}`,
      )
    }---\n` +
    networkPolicy(
      `{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{protocol: ${protocol}, port: ${port}}]}]}`,
      `web-${port}`,
    )
  ).join("---\n");

const outside = networkPolicy(
  `{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: ${OUTSIDE.v4}/32}}], ports: [{port: 80}, {port: 82, protocol: UDP}]}]}`,
  "outside",
);
const fewNames = circuitPolicy(
  "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{action: Allow, to: [{domainNames: [api.example.com]}], ports: [{port: 80}]}]}",
  "few-names",
  "sandboxes",
);

Deno.test("policies on guests", async (t) => {
  await using stack = new AsyncDisposableStack();
  const net = stack.use(await Namespaces.make());
  const directory = await Deno.makeTempDir({ prefix: "csvn-policy-vm-" });
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  /** Whole at once, as an editor does it: the switch never reads half of it. */
  const write = async (name: string, text: string): Promise<void> => {
    await Deno.writeTextFile(`${directory}/written`, text);
    await Deno.rename(`${directory}/written`, `${directory}/policies/${name}.yaml`);
  };
  await Deno.mkdir(`${directory}/policies`);
  for (const name of ["default-deny", "web-db"]) {
    await Deno.copyFile(`${project}policies/${name}.yaml`, `${directory}/policies/${name}.yaml`);
  }
  await write("measuring", measuring(5201, 5202));
  await write("outside", outside);
  await write("few-names", fewNames);
  await Deno.writeTextFile(`${directory}/csvn.yaml`, config(directory));
  const start = (which: "switch" | "outside", args: string[], log: string): void => {
    const child = net.deno(which, args, log).spawn();
    stack.defer(async () => {
      try {
        child.kill("SIGTERM");
      } catch {
        // It has ended.
      }
      await child.status;
    });
  };
  start("outside", ["run", "-A", `${project}tests/vm/programs/outside.ts`], `${directory}/outside.log`);
  start("switch", ["run", "-A", `${project}mod.ts`, "--config", `${directory}/csvn.yaml`], `${directory}/switch.log`);
  const log = (): Promise<string> => Deno.readTextFile(`${directory}/switch.log`);
  await until("the switch", async () => (await log().catch(() => "")).includes("box.sock"), WAIT);
  const [web, db, box] = (await Promise.all(
    ["web", "db", "box"].map((name) =>
      Guest.boot({ name, socket: `${directory}/${name}.sock`, progress: stderrProgress })
    ),
  )).map((guest) => stack.use(guest)) as [Guest, Guest, Guest];
  const csvn = async (...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `${project}mod.ts`, ...args, "--api", `${directory}/api.sock`],
      env: { NO_COLOR: "1" },
    }).output();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  };
  /** The errno of a connect from Python, `None` for none. */
  const connect = async (guest: Guest, address: string, port: number, timeout = 10): Promise<string> =>
    (await guest.run(`python3 -c '
import errno, socket
s = socket.socket()
s.settimeout(${timeout})
try:
    s.connect(("${address}", ${port}))
    print(None)
except TimeoutError: print("timed out")
except OSError as e: print(errno.errorcode.get(e.errno, e))'`)).stdout.trim();
  /** What comes back of a datagram: its payload, an errno, or nothing. */
  const datagram = async (guest: Guest, address: string, port: number): Promise<string> =>
    (await guest.run(`python3 -c '
import errno, socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.settimeout(5)
s.connect(("${address}", ${port}))
try:
    s.send(b"ping")
    print(s.recv(100).decode())
except TimeoutError: print("nothing")
except OSError as e: print(errno.errorcode.get(e.errno, e))'`)).stdout.trim();

  await web.run("nginx", { check: true });
  const listener = (port: number): string =>
    `socat -t 120 TCP-LISTEN:${port},fork,reuseaddr SYSTEM:'echo from db' >/dev/null 2>&1 &`;
  await db.run(
    `${listener(5432)} ${
      listener(80)
    } socat -t 120 UDP-LISTEN:7000,fork EXEC:cat & socat -t 120 UDP-LISTEN:7001,fork EXEC:cat &
    iperf3 -s -D -p 5201; iperf3 -s -D -p 5202`,
    { check: true },
  );
  await db.run("until ss -ltn 2>/dev/null | grep -q 5202 || [ $((n+=1)) -gt 20 ]; do sleep 0.1; done");

  await t.step("between VMs: TCP and UDP, by name of port, and refused as each VM's onDeny says", async () => {
    assertEquals((await web.run("socat -T 120 - TCP:10.77.0.20:5432 </dev/null")).stdout, "from db\n");
    assertEquals(await connect(web, "10.77.0.20", 80), "ECONNREFUSED");
    assertEquals(await connect(box, "10.77.0.20", 5432), "EACCES");
    assertEquals(await connect(db, "10.77.0.10", 80, 3), "timed out");
    assertEquals(await datagram(web, "10.77.0.20", 7000), "ping");
    assertEquals(await datagram(web, "10.77.0.20", 7001), "ECONNREFUSED");
    const text = await log();
    assertMatch(
      text,
      /denied: web 10\.77\.0\.10:\d+ -> db 10\.77\.0\.20:80: egress of web: denied, since no rule allows it/,
    );
  });

  await t.step("to the outside, by address", async () => {
    assertEquals(
      (await web.run(`curl -sS --max-time 200 http://${OUTSIDE.v4}/`)).stdout,
      `hello ::ffff:${SWITCH.v4}\n`,
    );
    assertEquals(await connect(web, OUTSIDE.v4, 85), "ECONNREFUSED");
    assertEquals(await datagram(web, OUTSIDE.v4, 82), "ping");
    assertEquals(await datagram(web, OUTSIDE.v4, 88), "ECONNREFUSED");
    assertEquals(await connect(db, OUTSIDE.v4, 80, 3), "timed out");
  });

  await t.step("to the outside, by name, for as long as the answer says", async () => {
    assertEquals(await connect(box, OUTSIDE.v4, 80), "EACCES");
    const { stdout, stderr } = await box.run("curl -sS --max-time 200 http://api.example.com/");
    assertEquals([stdout, stderr], [`hello ::ffff:${SWITCH.v4}\n`, ""]);
    assertEquals((await box.run("getent hosts www.example.com")).code, 2);
    // The resolver says two seconds.
    await new Promise((resolve) => setTimeout(resolve, 2500));
    assertEquals(await connect(box, OUTSIDE.v4, 80), "EACCES");
    assertEquals(
      (await box.run("curl -sS --max-time 200 http://api.example.com/")).stdout,
      `hello ::ffff:${SWITCH.v4}\n`,
    );
  });

  await t.step("from a published port, by the client's address", async () => {
    const get = (): Promise<{ code: number; stdout: string; stderr: string }> =>
      net.run("outside", `curl -sS --max-time 200 -o /dev/null -w '%{http_code}' http://${SWITCH.v4}:8080/`);
    const first = await get();
    assertEquals([first.stdout, first.stderr], ["200", ""]);
    const shop = await Deno.readTextFile(`${directory}/policies/web-db.yaml`);
    await write(
      "web-db",
      shop.replace(
        "    - ports:\n        - port: http",
        `    - from:\n        - ipBlock: {cidr: 0.0.0.0/0, except: [${OUTSIDE.v4}/32]}\n      ports:\n        - port: http`,
      ),
    );
    await until("the client is denied", async () => (await get()).code !== 0, WAIT);
    const client = OUTSIDE.v4.replaceAll(".", "\\.");
    const denied = new RegExp(`denied: host ${client}:\\d+ -> web 10\\.77\\.0\\.10:80: ingress of web: denied`);
    // The first one to fail may have been let in before, and was cut.
    await until("the log says so", async () => (await get()).code !== 0 && denied.test(await log()), WAIT);
    await write("web-db", shop);
    await until("it is let in again", async () => (await get()).stdout === "200", WAIT);
  });

  await t.step("a broken file changes nothing, and says where it is broken", async () => {
    const before = (await csvn("policy", "show")).stdout.split(":")[0];
    await write("broken", networkPolicy("{egres: []}", "broken"));
    await until("the error", async () => (await log()).includes(`${directory}/policies/broken.yaml:1:`), WAIT);
    assertMatch((await csvn("policy", "show")).stdout, /broken\.yaml:1:\d+: spec\.egres: unknown field/);
    assertStringIncludes((await csvn("policy", "show")).stdout, before!);
    assertEquals((await web.run("socat -T 120 - TCP:10.77.0.20:5432 </dev/null")).stdout, "from db\n");
    await Deno.remove(`${directory}/policies/broken.yaml`);
    await until("no error", async () => !(await csvn("policy", "show")).stdout.includes("errors"), WAIT);
  });

  await t.step("a live iperf3 is cut at once when its file changes; its neighbour goes on", async () => {
    const measure = (port: number): string =>
      `iperf3 -c 10.77.0.20 -p ${port} -t 12 -J >/tmp/${port}.json 2>&1; echo $? >/tmp/${port}.code`;
    await new Deno.Command("cp", { args: ["-r", `${directory}/policies`, `${directory}/next`] }).output();
    await Deno.writeTextFile(`${directory}/next/measuring.yaml`, measuring(5202));
    await web.run(`(${measure(5201)}) & (${measure(5202)}) & true`, { check: true });
    const live = async (): Promise<number> => {
      const { stdout } = await csvn("status", "--json");
      return JSON.parse(stdout).circuits.open;
    };
    await until("both run", async () => (await live()) >= 4, WAIT);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const preview = await csvn("policy", "diff", `${directory}/next`);
    assertMatch(preview.stdout, /^cut circuit \d+: web 10\.77\.0\.10:\d+ -> db 10\.77\.0\.20:5201\/tcp: /m);
    assert(!/^cut .*:5202/m.test(preview.stdout), preview.stdout);
    const wrote = Date.now();
    await write("measuring", measuring(5202));
    await until("it is over", async () => (await web.run("cat /tmp/5201.code")).stdout !== "", WAIT);
    const records = (await Deno.readTextFile(`${directory}/audit.jsonl`)).trimEnd().split("\n").map((line) =>
      JSON.parse(line)
    );
    const cut = records.filter(({ event, why, time }) =>
      event === "closed" && why === "policy" && Date.parse(time) >= wrote
    );
    assertEquals(new Set(cut.map(({ to }) => to.port)), new Set([5201]));
    assert(
      cut.every(({ cut, sentBytes, receivedBytes }) => cut && sentBytes !== undefined && receivedBytes !== undefined),
    );
    // When it was decided, by the log.
    const line = (await log()).split("\n").findLast((line) => line.includes("policy changed"))!;
    // deno-lint-ignore no-console -- told, not judged
    console.log(`decided ${Date.parse(/\d{4}-\S+/.exec(line)![0]) - wrote} ms after the file was written: ${line}`);
    // deno-lint-ignore no-console -- told, not judged
    console.log(`closed at both ends ${Math.max(...cut.map(({ time }) => Date.parse(time))) - wrote} ms after it`);
    await until("the neighbour is done", async () => (await web.run("cat /tmp/5202.code")).stdout !== "");
    const codes = (await web.run("cat /tmp/5201.code /tmp/5202.code")).stdout;
    assertEquals(codes, "1\n0\n");
    const neighbour = JSON.parse((await web.run("cat /tmp/5202.json")).stdout);
    assert(neighbour.end.sum_received.bytes > 0 && neighbour.intervals.length >= 11, "it carried bytes to its end");
    assertEquals(await connect(web, "10.77.0.20", 5201), "ECONNREFUSED");
  });

  await t.step("explain, and the audit log", async () => {
    const { stdout } = await csvn("policy", "explain", "--from", "web", "--to", "db:80");
    assertMatch(stdout, /^web -> db 80\/tcp: denied/);
    assertStringIncludes(stdout, "NetworkPolicy default/db (");
    const records = (await Deno.readTextFile(`${directory}/audit.jsonl`)).trimEnd().split("\n").map((line) =>
      JSON.parse(line)
    );
    const find = (
      event: string,
      from: string | undefined,
      to: string | undefined,
      port: number,
    ): Record<string, unknown> | undefined =>
      records.find((record) =>
        record.event === event && record.from.vm === from && record.to.vm === to && record.to.port === port
      );
    assertEquals(find("opened", "web", "db", 5432)?.way, "direct");
    assertEquals(find("denied", "web", "db", 80)?.errno, "ECONNREFUSED");
    assertEquals(find("denied", "box", "db", 5432)?.errno, "EACCES");
    assertEquals(find("opened", "web", undefined, 80)?.way, "host");
    assertEquals(find("opened", "box", undefined, 80)?.names, ["api.example.com"]);
    assertEquals((find("opened", undefined, "web", 80)?.from as { address: string }).address, OUTSIDE.v4);
    assert(find("closed", "web", "db", 5432)?.sentBytes !== undefined);
    assertEquals((find("opened", "web", "db", 5432)?.to as { labels: unknown }).labels, { app: "db" });
  });
});
