import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { HELP, parseCommandLine } from "../../../src/config/command_line.ts";
import { type Config, ConfigError } from "../../../src/config/config.ts";
import { formatEndpoint } from "../../../src/net/address.ts";

function run(...args: string[]): Config {
  const command = parseCommandLine(args);
  if (command.name !== "run") throw new Error(command.name);
  return command.config;
}

Deno.test("parseCommandLine() reads every option", () => {
  const args = "--socket /a --socket=/b --vm name=web,socket=/w,address=10.0.0.2,address6=fd77::2 --policy deny " +
    "--network 10.0.0.0/8 --network6 fd77::/64 --socket-mode 0660 --ring-size 64KiB --window-size 1GiB --api /api " +
    "--log-level debug --log-format json --config /c.yaml --no-outside --allow-host 127.0.0.1:5432 " +
    "--allow-host [::1]:6 --publish 8080=web:80 --publish 127.0.0.1:53=dns:5353/udp --resolver 10.0.0.53 " +
    "--resolver [fd77::53]:5353 --service db.internal=web,10.0.0.9 --forbid 10.0.0.0/8 --forbid fd00::9 " +
    "--learned-names 300 --cgroup /g";
  const command = parseCommandLine(args.split(" "));
  if (command.name !== "run") throw new Error(command.name);
  assertEquals(command.file, "/c.yaml");
  const { network4, network6, vms, allowHost, forbid, publish, resolvers, services, ...rest } = command.config;
  assertEquals([String(network4), String(network6)], ["10.0.0.0/8", "fd77::/64"]);
  assertEquals(vms.map((vm) => [vm.name, vm.socket, vm.address?.text, vm.address6?.text]), [
    ["web", "/w", "10.0.0.2", "fd77::2"],
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
    sockets: [{ path: "/a" }, { path: "/b" }],
    outside: false,
    policy: ["deny"],
    namespaces: new Map(),
    defaultAction: undefined,
    onDeny: undefined,
    onChange: undefined,
    audit: undefined,
    auditLog: undefined,
    learnedSeconds: 300,
    socketMode: 0o660,
    ringBytes: 2 ** 16,
    windowBytes: 2 ** 30,
    api: "/api",
    cgroup: "/g",
    logLevel: "debug",
    logFormat: "json",
  });
});

Deno.test("parseCommandLine() leaves out what was not said", () => {
  assertEquals(Object.values(run()).filter((value) => value !== undefined), [
    [],
    [],
    [],
    new Map(),
    [],
    [],
    [],
    [],
    [],
  ]);
});

Deno.test("parseCommandLine() knows help, version and status", () => {
  assertEquals(parseCommandLine(["--help"]), { name: "help" });
  assertEquals(parseCommandLine(["-h", "--socket", "/a"]), { name: "help" });
  assertEquals(parseCommandLine(["--version"]), { name: "version" });
  assertEquals(parseCommandLine(["status", "--api", "/a"]), { name: "status", api: "/a", json: false });
  assertEquals(parseCommandLine(["status", "--api=/a", "--json"]), { name: "status", api: "/a", json: true });
});

Deno.test("parseCommandLine() says what is wrong with which option", () => {
  const cases: [string[], string][] = [
    [["--sokcet", "/a"], "unknown option --sokcet"],
    [["-x"], "unknown option -x"],
    [["--socket"], "--socket needs a value"],
    [["--socket="], "--socket needs a value"],
    [["--config"], "--config needs a value"],
    [["run"], 'unknown command "run"'],
    [["status", "more", "--api", "/a"], 'unexpected argument "more"'],
    [["status"], "status needs --api PATH"],
    [["--json", "--socket", "/a"], "--json goes with the command status"],
    [["--default", "deny", "--default", "allow"], "--default is given twice"],
    [["--api=/a", "--api", "/b"], "--api is given twice"],
    [["--publish", "80"], '--publish: "80" is not a published port'],
    [["--publish", "80=Web:80"], '--publish: "Web" is not a VM name'],
    [["--publish", "80=web:0"], '--publish: "0" is not a port'],
    [["--publish", "1.2.3:80=web:80"], '--publish: "1.2.3" is not an IP address'],
    [["--allow-host", "127.0.0.1"], '--allow-host: "127.0.0.1" is not an address with a port'],
    [["--allow-host", "localhost:80"], '--allow-host: "localhost" is not an IP address'],
    [["--forbid", "10.0.0.0/33"], '--forbid: "10.0.0.0/33": the prefix is a number from 0 to 32'],
    [["--forbid", "ten"], '--forbid: "ten" is not an IP address'],
    [["--learned-names", "1.5"], '--learned-names: "1.5" is not a time'],
    [["--learned-names", "86401"], '--learned-names: "86401" is not a time'],
    [["--resolver", "dns"], '--resolver: "dns" is not an IP address'],
    [["--service", "db"], '--service: "db" is not a service name'],
    [["--service", "d b=web"], '--service: "d b" is not a DNS name'],
    [["--default", "perhaps"], '--default: "perhaps" is not one of allow, deny'],
    [["--on-deny", "reject"], '--on-deny: "reject" is not one of refuse, unreachable, prohibit, drop'],
    [["--on-change", "reset"], '--on-change: "reset" is not one of cut, keep'],
    [["--network", "10.0.0.0"], "--network: "],
    [["--network6", "10.0.0.0/8"], "--network6: "],
    [["--socket-mode", "999"], "--socket-mode: "],
    [["--ring-size", "3"], "--ring-size: "],
    [["--window-size", "1"], "--window-size: "],
    [["--log-level", "loud"], "--log-level: "],
    [["--log-format", "xml"], "--log-format: "],
    [["--socket", "/" + "a".repeat(200)], "--socket: socket path"],
    [["--vm", "name=web"], "--vm name=web: socket=… is missing"],
    [["--vm", "socket=/a"], "name=… is missing"],
    [["--vm", "name=,socket=/a"], "name=… is missing"],
    [["--vm", "name=web,socket=/a,name=b"], "name is given twice"],
    [["--vm", "name=web,socket=/a,colour=red"], '"colour=red" is not one of name=…'],
    [["--vm", "web"], '"web" is not one of'],
    [["--vm", "name=Web,socket=/a"], '"Web" is not a VM name'],
    [["--vm", "name=web,socket=/a,address=fd77::2"], "is not an IPv4 address"],
    [["--vm", "name=web,socket=/a", "--vm", "name=web,socket=/b"], 'two VMs are named "web"'],
  ];
  for (const [args, message] of cases) {
    const error = assertThrows(() => parseCommandLine(args), ConfigError);
    assertStringIncludes(error.message, message);
    assertEquals(error.message.includes("\n"), false);
  }
});

Deno.test("parseCommandLine() keeps equal signs in a VM's socket path", () => {
  assertEquals(run("--vm", "name=a,socket=/x=y").vms[0]?.socket, "/x=y");
});

Deno.test("HELP says which of the host's addresses VMs never reach", () => {
  assertStringIncludes(HELP.replace(/\s+/g, " "), "the host's loopback, link-local and clouds' metadata they never do");
});

Deno.test("HELP names every option that there is", () => {
  const options = ["socket", "vm", "config", "policy", "network", "network6", "socket-mode", "ring-size"];
  for (const option of [...options, "window-size", "api", "log-level", "log-format", "help", "version"]) {
    assertStringIncludes(HELP, `--${option}`);
  }
});

Deno.test("parseCommandLine() reads policies and what VMs are to them", () => {
  const config = run(
    ...["--policy", "/p", "--policy=q", "--default", "deny", "--on-deny", "drop", "--on-change", "keep", "--audit"],
    ...[
      "--audit-log",
      "/l",
      "--vm",
      "name=a,socket=/s,namespace=n,label=app=web,label=tier=,port=http:80,port=dns:53/udp",
    ],
  );
  const { policy, defaultAction, onDeny, onChange, audit, auditLog } = config;
  assertEquals({ policy, defaultAction, onDeny, onChange, audit, auditLog }, {
    policy: ["/p", "q"],
    defaultAction: "deny",
    onDeny: "drop",
    onChange: "keep",
    audit: true,
    auditLog: "/l",
  });
  const { namespace, labels, ports } = config.vms[0]!;
  assertEquals({ namespace, labels, ports }, {
    namespace: "n",
    labels: { app: "web", tier: "" },
    ports: [{ name: "http", port: 80, protocol: "tcp" }, { name: "dns", port: 53, protocol: "udp" }],
  });
  for (const spec of ["label=web", "label=a=b=c", "port=80", "port=http:0", "port=http:80/icmp", "namespace="]) {
    assertThrows(() => run("--vm", `name=a,socket=/s,${spec}`), ConfigError, "--vm name=a,socket=/s");
  }
});

Deno.test("parseCommandLine() reads policy commands", () => {
  const read = (text: string): unknown => parseCommandLine(text.split(" "));
  assertEquals(read("policy check a b"), { name: "policy check", paths: ["a", "b"] });
  assertEquals(read("policy test c.json"), { name: "policy test", files: ["c.json"] });
  assertEquals(read("policy show --api /a"), { name: "policy show", api: "/a", json: false });
  assertEquals(read("policy reload --api /a"), { name: "policy reload", api: "/a" });
  assertEquals(read("policy explain --from a --to b:1 --api /a --json"), {
    name: "policy explain",
    from: "a",
    to: "b:1",
    asked: { api: "/a" },
    json: true,
  });
  assertEquals(read("policy diff new --api /a"), {
    name: "policy diff",
    before: undefined,
    after: "new",
    asked: { api: "/a" },
    json: false,
  });
  const diff = parseCommandLine(["policy", "diff", "old", "new", "--config", "c.yaml"]);
  assertEquals(diff.name === "policy diff" && [diff.before, diff.after, "file" in diff.asked && diff.asked.file], [
    "old",
    "new",
    "c.yaml",
  ]);
  const wrong = [
    ["policy", "policy needs one of check"],
    ["policy chekc a", 'unknown command "policy chekc"; known are check'],
    ["policy check", "policy check needs files"],
    ["policy test", "policy test needs files"],
    ["policy explain --from a", "needs --from and --to"],
    ["policy explain x --from a --to b:1", "needs no further word"],
    ["policy diff a", "needs two paths"],
    ["policy diff a b --api /a", "needs two paths"],
    ["policy show", "needs --api PATH"],
    ["policy reload", "needs --api PATH"],
    ["--from a --socket /a", "--from goes with policy explain"],
  ] as const;
  for (const [text, expected] of wrong) assertThrows(() => read(text), ConfigError, expected);
});
