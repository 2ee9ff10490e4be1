import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ConfigError, NOTHING } from "../../../src/config/config.ts";
import { parseConfigFile } from "../../../src/config/file.ts";
import { formatEndpoint } from "../../../src/net/address.ts";

function errors(text: string): string[] {
  return assertThrows(() => parseConfigFile("c.yaml", text), ConfigError).message.split("\n");
}

Deno.test("parseConfigFile() reads everything", () => {
  const { network4, network6, vms, sockets, allowHost, forbid, publish, resolvers, services, ...rest } =
    parseConfigFile(
      "c.yaml",
      `
sockets:
  - /a
  - {path: "/b c", namespace: pool, labels: {app: job}, onDeny: drop, cpuWeight: 20}
socketMode: 0660
vms:
  - {name: web, socket: /w, address: 10.0.0.2, address6: "fd77::2"}
  - name: db
    socket: /d
    namespace: data
    labels: {app: db, tier: ""}
    ports: [{name: postgres, port: 5432}, {name: stats, port: 8125, protocol: UDP}]
    onDeny: unreachable
    audit: true
    cpuWeight: 200
    memoryMax: 64MiB
    cpus: 0-3,6
policy: [/p, q.yaml]
policyDefault: deny
onDeny: prohibit
onChange: keep
audit: false
auditLog: /a.log
namespaces: {data: {labels: {team: storage}}, pool: {}}
network: 10.0.0.0/8
network6: fd77::/64
ringSize: 64KiB
windowSize: 1GiB
api: /api
cgroup: /g
logLevel: debug
logFormat: json
outside: false
allowHost: ["127.0.0.1:5432", "[::1]:6"]
forbid: [10.0.0.0/8, "fd00::9"]
learnedNames: 300
publish: [8080=web:80, "127.0.0.1:53=dns:5353/udp"]
resolvers: [10.0.0.53, "[fd77::53]:5353"]
services: {db.internal: [web, 10.0.0.9]}
`,
    );
  assertEquals([String(network4), String(network6)], ["10.0.0.0/8", "fd77::/64"]);
  assertEquals(vms.map((vm) => [vm.name, vm.socket, vm.address?.text, vm.address6?.text]), [
    ["web", "/w", "10.0.0.2", "fd77::2"],
    ["db", "/d", undefined, undefined],
  ]);
  const { namespace, labels, ports, onDeny, audit } = vms[1]!;
  assertEquals({ namespace, labels, ports, onDeny, audit }, {
    namespace: "data",
    labels: { app: "db", tier: "" },
    ports: [{ name: "postgres", port: 5432, protocol: "tcp" }, { name: "stats", port: 8125, protocol: "udp" }],
    onDeny: "unreachable",
    audit: true,
  });
  assertEquals([...vms, ...sockets].map(({ cpuWeight, memoryMax, cpus }) => [cpuWeight, memoryMax, cpus]), [
    [undefined, undefined, undefined],
    [200, 2 ** 26, "0-3,6"],
    [undefined, undefined, undefined],
    [20, undefined, undefined],
  ]);
  assertEquals(sockets.map(({ path, namespace, labels, onDeny }) => [path, namespace, labels, onDeny]), [
    ["/a", undefined, undefined, undefined],
    ["/b c", "pool", { app: "job" }, "drop"],
  ]);
  assertEquals(allowHost.map(formatEndpoint), ["127.0.0.1:5432", "[::1]:6"]);
  assertEquals(forbid.map(String), ["10.0.0.0/8", "fd00::9/128"]);
  assertEquals(resolvers.map(formatEndpoint), ["10.0.0.53:53", "[fd77::53]:5353"]);
  assertEquals(
    publish.map(({ protocol, host, vm, port }) => [protocol, formatEndpoint(host), vm, port]),
    [["tcp", "0.0.0.0:8080", "web", 80], ["tcp", "[::]:8080", "web", 80], ["udp", "127.0.0.1:53", "dns", 5353]],
  );
  assertEquals(
    services.map(({ name, targets }) => [name, targets.map((t) => typeof t === "string" ? t : t.text)]),
    [["db.internal", ["web", "10.0.0.9"]]],
  );
  assertEquals(rest, {
    outside: false,
    learnedSeconds: 300,
    socketMode: 0o660,
    policy: ["/p", "q.yaml"],
    defaultAction: "deny",
    onDeny: "prohibit",
    onChange: "keep",
    audit: false,
    auditLog: "/a.log",
    namespaces: new Map<string, Record<string, string>>([["data", { team: "storage" }], ["pool", {}]]),
    ringBytes: 2 ** 16,
    windowBytes: 2 ** 30,
    api: "/api",
    cgroup: "/g",
    logLevel: "debug",
    logFormat: "json",
  });
});

Deno.test("parseConfigFile() takes an empty file for an empty configuration", () => {
  for (const text of ["", "\n", "# nothing\n", "---\n", "null\n", "~"]) {
    assertEquals(parseConfigFile("c.yaml", text), NOTHING);
  }
});

Deno.test("parseConfigFile() reads modes as written, in octal", () => {
  for (const [text, mode] of [["0660", 0o660], ["660", 0o660], ['"0660"', 0o660], ["0600", 0o600]] as const) {
    assertEquals(parseConfigFile("c.yaml", `socketMode: ${text}`).socketMode, mode);
  }
  for (const text of ["0o660", "0x1b0", "1000", "0990", "6.6e2"]) {
    assertMatch(errors(`socketMode: ${text}`)[0]!, /^c\.yaml:1:13: socketMode: ".*" is not a mode/);
  }
});

Deno.test("parseConfigFile() reports all errors at once, each with position and path", () => {
  const text = `sockets:
  - /good
  - [nested]
policyDefault: maybe
vms:
  - name: web
    socket: /w
    colour: red
  - name: Web
    socket: ""
  - {name: web, socket: /x, address: fd77::2}
  - 7
ringSize: 3
unknown: 1
`;
  const expected: [string, string][] = [
    ["3:5: sockets[1]: ", "a single value is expected"],
    ["8:5: vms[0].colour: ", "unknown field; known are name, socket, address, address6"],
    ["9:11: vms[1].name: ", '"Web" is not a VM name'],
    ["10:13: vms[1].socket: ", "a socket's path is empty"],
    ["11:38: vms[2].address: ", '"fd77::2" is not an IPv4 address'],
    ["11:12: vms[2].name: ", '"web" is vms[0] already'],
    ["12:5: vms[3]: ", "a mapping is expected"],
    ["12:5: vms[3].name: ", "is missing"],
    ["12:5: vms[3].socket: ", "is missing"],
    ["4:16: policyDefault: ", '"maybe" is not one of allow, deny'],
    ["13:11: ringSize: ", '"3" is not a size'],
    ["14:1: unknown: ", "unknown field; known are sockets"],
  ];
  const lines = errors(text);
  assertEquals(lines.length, expected.length, lines.join("\n"));
  for (const [at, message] of expected) {
    const line = lines.find((line) => line.startsWith(`c.yaml:${at}`) && line.includes(message));
    assertEquals(line === undefined ? lines : [], [], `${at}${message}`);
  }
});

Deno.test("parseConfigFile() gives the position of a syntax error", () => {
  const cases: [string, RegExp][] = [
    ["a: b: c", /^c\.yaml:1:\d+: /],
    ["sockets: [/a", /^c\.yaml:1:\d+: /],
    ["\n\n  - x\n a", /^c\.yaml:[34]:\d+: /],
    ['policy: "deny', /^c\.yaml:1:\d+: /],
    ["policy: allow\npolicy: deny\n", /^c\.yaml:2:1: the key "\w+" is there already/],
    ["vms:\n  - {name: a, name: b, socket: /a}", /^c\.yaml:2:15: the key "\w+" is there already/],
    ["policy: *nowhere", /^c\.yaml:1:\d+: /],
    ["\tpolicy: deny", /^c\.yaml:1:1: /],
    ["--- \na: 1\n---\nb: 2\n", /^c\.yaml:\d+:\d+: /],
  ];
  for (const [text, message] of cases) {
    const lines = errors(text);
    assertMatch(lines[0]!, message);
    for (const line of lines) assertMatch(line, /^c\.yaml:\d+:\d+: \S/);
  }
});

Deno.test("parseConfigFile() refuses every wrong type with its path", () => {
  const wrong = ["[]", "{}", "[1]", "{a: 1}", "null", "~", ""];
  const fields = [
    "socketMode",
    "network",
    "network6",
    "ringSize",
    "windowSize",
    "api",
    "logLevel",
    "logFormat",
  ];
  for (const field of fields) {
    for (const value of wrong) {
      assertMatch(errors(`${field}: ${value}`)[0]!, new RegExp(`^c\\.yaml:1:\\d+: ${field}: `));
    }
    if (field === "api") continue;
    for (const value of ["1.5", "true", "2026-01-01", ".inf", "!!binary aGk="]) {
      assertMatch(errors(`${field}: ${value}`)[0]!, /^c\.yaml:1:\d+: /);
    }
  }
  for (const value of ["[]", "{}", "[[]]", "1", "true", "null", '""']) {
    assertMatch(errors(`policy: ${value}`)[0]!, /^c\.yaml:1:\d+: policy/);
  }
  for (const value of ["1", "text", "{}", "null", "true"]) {
    assertMatch(errors(`sockets: ${value}`)[0]!, /^c\.yaml:1:\d+: sockets: /);
    assertMatch(errors(`vms: ${value}`)[0]!, /^c\.yaml:1:\d+: vms: /);
  }
  for (const text of ["7", "text", "[]", "- a", "true", '""']) {
    assertMatch(errors(text)[0]!, /^c\.yaml:1:1: the file: /);
  }
  for (const text of ["1: a", "? [a]\n: b", "? {a: b}\n: c", "null: 1", "true: 1"]) {
    assertMatch(errors(text)[0]!, /^c\.yaml:1:\d+: .*(unknown field|a key is expected to be a single value)/);
  }
});

Deno.test("parseConfigFile() follows no alias into an explosion", () => {
  const levels = Array.from(
    { length: 12 },
    (_, i) => `a${i}: &a${i} [${Array(9).fill(i ? `*a${i - 1}` : "x").join(", ")}]`,
  );
  const lines = errors(levels.join("\n") + "\nsockets: *a11\n");
  assertEquals(lines.length <= 14, true, lines.join("\n").slice(0, 1000));
  for (const line of lines) assertMatch(line, /^c\.yaml:\d+:\d+: /);
  for (
    const text of [
      "sockets: [&a /x, *a]",
      "policy: *a",
      "&a vms: *a",
      "<<: {policy: deny}",
      "x: &x {policy: deny}\n<<: *x",
    ]
  ) {
    for (const line of errors(text)) assertMatch(line, /^c\.yaml:\d+:\d+: /);
  }
});

Deno.test("parseConfigFile() refuses a file that is too long before it reads it", () => {
  assertEquals(errors("#".repeat(10 << 20)), ["c.yaml:1:1: longer than 1048576 characters"]);
});

Deno.test("parseConfigFile() survives deep nesting", () => {
  for (const [open, close] of [["[", "]"], ["{a: ", "}"], ["- ", ""], ["? ", ""]] as const) {
    for (const depth of [100, 5_000, 100_000]) {
      const lines = errors(
        `sockets: ${open === "- " || open === "? " ? "\n  " : ""}${open.repeat(depth)}${close.repeat(depth)}`,
      );
      for (const line of lines.slice(0, 3)) assertMatch(line, /^c\.yaml:?/);
    }
  }
});

Deno.test("parseConfigFile() tells what is wrong with what VMs are to policies", () => {
  const cases = [
    ["vms: [{name: host, socket: /h}]", 'vms[0].name: "host" is not for VMs'],
    ["vms: [{name: a, socket: /h, namespace: No}]", 'vms[0].namespace: "No" is not a namespace'],
    ["vms: [{name: a, socket: /h, labels: {app: 'a b'}}]", 'vms[0].labels.app: "a b" is not a label value'],
    ["vms: [{name: a, socket: /h, labels: {-a: b}}]", 'vms[0].labels: "-a" is not a label key'],
    ["vms: [{name: a, socket: /h, labels: [app]}]", "vms[0].labels: a mapping is expected"],
    ["vms: [{name: a, socket: /h, ports: [{name: http}]}]", "vms[0].ports[0]: name and port are expected"],
    ["vms: [{name: a, socket: /h, ports: [{name: http, port: 0}]}]", 'vms[0].ports[0].port: "0" is not a port'],
    ["vms: [{name: a, socket: /h, ports: [{name: 80, port: 80}]}]", 'vms[0].ports[0].name: "80" is not a port'],
    [
      "vms: [{name: a, socket: /h, ports: [{name: http, port: 80}, {name: http, port: 81}]}]",
      'vms[0].ports[1].name: "http" is there already for tcp',
    ],
    ["vms: [{name: a, socket: /h, onDeny: no}]", 'vms[0].onDeny: "no" is not one of refuse'],
    ["sockets: [{namespace: a}]", "sockets[0].path: is missing"],
    ["sockets: [{path: /a, name: b}]", "sockets[0].name: unknown field"],
    ["namespaces: {a: {label: {}}}", "namespaces.a.label: unknown field"],
    ["policy: [{}]", "policy[0]: a single value is expected"],
    ["a: 1\n---\nb: 1", "one document is expected"],
  ] as const;
  for (const [text, expected] of cases) {
    const found = errors(text).join("\n");
    assert(found.includes(expected), `${text}: ${found}`);
  }
});
