/**
 * The program on its command line: what it says, what it leaves behind, and its exit codes.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Errno } from "../../src/errno.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { type Ended, run, Running } from "../support/program.ts";
import { until } from "../support/until.ts";

async function directory(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "csvn-cli-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** It failed with one clear line on standard error (or as many as are said), and without a stack trace. */
function failed(ended: Ended, code: number, message: string, lines = 1): void {
  assertEquals([ended.code, ended.stdout], [code, ""], ended.stderr);
  const said = ended.stderr.trimEnd().split("\n").filter((line) => line.startsWith("csvn: "));
  assertEquals(said.length, lines, ended.stderr);
  assertStringIncludes(said.join("\n"), message);
  assert(!/^\s+at /m.test(ended.stderr) && !ended.stderr.includes("internal error"), ended.stderr);
}

Deno.test("wrong command lines: one line and exit code 2", async (t) => {
  const cases: [string[], string][] = [
    [["--sokcet", "/a"], "unknown option --sokcet; see --help"],
    [["--socket"], "--socket needs a value"],
    [["--socket", "/a", "--policy", "/nowhere/at/all"], "/nowhere/at/all: there is no such file or directory"],
    [["--vm", "name=web"], "--vm name=web: socket=… is missing"],
    [["--vm", "name=Web,socket=/a"], '"Web" is not a VM name'],
    [["--vm", "name=a,socket=/a,address=10.78.0.2"], "VM a: 10.78.0.2 is not in 10.77.0.0/16"],
    [["--socket", "/" + "a".repeat(200)], "is longer than 107 bytes"],
    [["frobnicate"], 'unknown command "frobnicate"'],
    [["status"], "status needs --api PATH"],
    [[], "no socket to listen on: give --socket PATH"],
  ];
  await Promise.all(cases.slice(0, 5).map(async ([args, message]) => failed(await run(args), 2, message)));
  for (const [args, message] of cases.slice(5)) {
    await t.step(message, async () => failed(await run(args), 2, message));
  }
});

Deno.test("--help and --version", async () => {
  const [help, version] = await Promise.all([run(["--help"]), run(["--version"])]);
  assertEquals([help.code, help.stderr, version.code, version.stderr], [0, "", 0, ""]);
  assertStringIncludes(help.stdout, "--socket PATH");
  assertMatch(version.stdout, /^csvn \d+\.\d+\.\d+\n$/);
});

Deno.test("wrong configuration files: each error at its position, exit code 2", async () => {
  await using dir = await directory();
  const file = `${dir.path}/c.yaml`;
  await Deno.writeTextFile(file, "policyDefault: maybe\nvms:\n  - {name: web}\n");
  const wrong = await run(["--config", file]);
  failed(wrong, 2, `${file}:1:16: policyDefault: "maybe" is not one of allow, deny`, 2);
  assertStringIncludes(wrong.stderr, `csvn: ${file}:3:5: vms[0].socket: is missing`);
  failed(await run(["--config", `${dir.path}/none.yaml`]), 2, "none.yaml: there is no such file");
  failed(await run(["--config", dir.path]), 2, "cannot read the configuration");
  await Deno.writeTextFile(file, "vms: [{name: a, socket: /a}, {name: b, socket: /b, address: 10.77.0.1}]");
  failed(await run(["--config", file]), 2, "VM b: 10.77.0.1 is the network's, the switch's or the broadcast address");
});

Deno.test("sockets that cannot be listened on: one line and exit code 1", async (t) => {
  await using dir = await directory();
  await t.step("no such directory", async () => {
    failed(await run(["--socket", `${dir.path}/none/s`]), 1, "ENOENT: its directory does not exist");
  });
  await t.step("a regular file in the way stays as it is", async () => {
    await Deno.writeTextFile(`${dir.path}/file`, "precious");
    failed(await run(["--socket", `${dir.path}/file`]), 1, "EADDRINUSE");
    assertEquals(await Deno.readTextFile(`${dir.path}/file`), "precious");
  });
  await t.step("a symbolic link in the way stays as it is", async () => {
    await Deno.symlink("/nowhere", `${dir.path}/link`);
    failed(await run(["--socket", `${dir.path}/link`]), 1, "EADDRINUSE");
    assertEquals(await Deno.readLink(`${dir.path}/link`), "/nowhere");
  });
  await t.step("one of two: the other is removed again", async () => {
    failed(await run(["--socket", `${dir.path}/good`, "--socket", `${dir.path}/file`]), 1, "EADDRINUSE");
    assertEquals(exists(`${dir.path}/good`), false);
  });
  await t.step("the API's path in use", async () => {
    failed(await run(["--socket", `${dir.path}/s`, "--api", `${dir.path}/file`]), 1, "EADDRINUSE");
    assertEquals([exists(`${dir.path}/s`), await Deno.readTextFile(`${dir.path}/file`)], [false, "precious"]);
  });
});

const NOBODY = 65534;

Deno.test({
  name: "no permission: one line and exit code 1",
  ignore: Deno.uid() !== 0, // only root can give a directory away
  fn: async () => {
    await using dir = await directory();
    await Deno.writeTextFile(`${dir.path}/c.yaml`, "", { mode: 0o600 });
    for (const path of [`${dir.path}/c.yaml`, dir.path]) await Deno.chown(path, NOBODY, NOBODY);
    await Deno.chmod(dir.path, 0o755);
    failed(await run(["--socket", `${dir.path}/s`], true), 1, "EACCES: no permission");
    failed(await run(["--config", `${dir.path}/c.yaml`], true), 2, "c.yaml: no permission");
    await Deno.chmod(dir.path, 0o700);
    failed(await run(["--socket", `${dir.path}/s`], true), 1, "EACCES: no permission");
  },
});

Deno.test("a path in use by a living switch is refused, a dead one's is replaced", async () => {
  await using dir = await directory();
  const [socket, api] = [`${dir.path}/s`, `${dir.path}/api`];
  {
    await using first = new Running(["--socket", socket, "--api", api]);
    await first.says(`listening on ${socket}`);
    await until("its API", () => exists(api));
    failed(await run(["--socket", socket]), 1, "another process listens there");
    failed(await run(["--socket", `${dir.path}/other`, "--api", api]), 1, "another process listens there");
    await using vm = await FakeDriver.boot(socket);
    assertEquals(vm.name, "vm1", "the first goes on");
  }
  assert(exists(socket) && exists(api), "it was killed");
  await using second = new Running(["--socket", socket, "--api", api]);
  await second.says(`listening on ${socket}`);
  assertEquals((await run(["status", "--api", api])).code, 0);
  await using vm = await FakeDriver.boot(socket);
  assertEquals(vm.name, "vm1");
});

Deno.test("SIGTERM and SIGINT end it with 0, and its sockets are removed; its ports have the front-ends", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    await using dir = await directory();
    const paths = ["s", "web", "api"].map((name) => `${dir.path}/${name}`);
    const [socket, web, api] = paths as [string, string, string];
    await using program = new Running(["--socket", socket, "--vm", `name=web,socket=${web}`, "--api", api]);
    await program.says(`listening on ${web}`);
    await using vm = await FakeDriver.boot(web);
    await until("its API", () => exists(api) && (Deno.statSync(api).mode! & 0o777) === 0o600);
    assertEquals([vm.name, paths.map((path) => Deno.statSync(path).mode! & 0o777)], ["web", [0o600, 0o600, 0o600]]);
    const { code, stderr } = await program.stop(signal);
    assertEquals([code, paths.map(exists)], [0, [false, false, false]]);
    assertStringIncludes(stderr, "web detached: the switch stops");
    assertEquals((await vm.frontEnd.ask(17)).length, 8, "how many queues there are");
    assert(!/^\s+at /m.test(stderr), stderr);
  }
});

Deno.test("--policy deny, --socket-mode, --log-format json, and what status says", async () => {
  await using dir = await directory();
  const [socket, api] = [`${dir.path}/s`, `${dir.path}/api`];
  const options = ["--policy", "deny", "--socket-mode", "0660", "--log-format", "json"];
  await using program = new Running(["--socket", socket, "--api", api, ...options]);
  await program.says("listening on");
  await using a = await FakeDriver.boot(socket);
  await using b = await FakeDriver.boot(socket);
  assertEquals(Deno.statSync(socket).mode! & 0o777, 0o660);
  await b.listen(80);
  assertEquals(await a.connect(b.address, 80), Errno.ECONNREFUSED);
  await until("its API", () => exists(api));
  await program.says("denied by default, since no policy selects it");
  const lines = program.stderr.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert(lines.some((line) => JSON.stringify(line).includes("denied")));
  const [text, json] = await Promise.all([run(["status", "--api", api]), run(["status", "--api", api, "--json"])]);
  assertEquals([text.code, json.code, text.stderr, json.stderr], [0, 0, "", ""]);
  assertMatch(text.stdout, /^VMs: 2\n {2}vm1 ready 10\.77\.0\.2 fd77:6373:766e::2: 0 circuits, 0 listeners/);
  const status = JSON.parse(json.stdout);
  assertEquals([status.vms.length, status.vms[1].listeners, status.circuits], [2, 1, { open: 0, total: 0 }]);
});

Deno.test("status without a switch: one line and exit code 1", async () => {
  await using dir = await directory();
  const status = (name: string, as = false): ReturnType<typeof run> =>
    run(["status", "--api", `${dir.path}/${name}`], as);
  failed(await status("none"), 1, `no switch answers on ${dir.path}/none: there is no such file`);
  await Deno.writeTextFile(`${dir.path}/file`, "");
  failed(await status("file"), 1, `${dir.path}/file: it is no socket`);
  // What a switch leaves that was killed.
  const [socket, api] = [`${dir.path}/s`, `${dir.path}/api`];
  {
    await using program = new Running(["--socket", socket, "--api", api]);
    await program.says(`listening on ${socket}`);
    await until("its API", () => exists(api));
    if (Deno.uid() === 0) {
      await Deno.chown(api, NOBODY, NOBODY);
      failed(await status("api", true), 1, `${api}: no permission`);
    }
  }
  failed(await status("api"), 1, `${api}: nobody listens there`);
  using hung = Deno.listen({ transport: "unix", path: `${dir.path}/hung` });
  const asked = status("hung");
  (await hung.accept()).close();
  failed(await asked, 1, `no switch answers on ${dir.path}/hung: `);
});
