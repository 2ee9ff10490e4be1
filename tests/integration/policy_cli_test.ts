/**
 * `policy …` on the command line, with and without a running switch.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { FakeDriver } from "../support/fake_driver.ts";
import { networkPolicy } from "../support/policies.ts";
import { run, Running } from "../support/program.ts";
import { until } from "../support/until.ts";

const cases = fromFileUrl(new URL("../data/networkpolicy_cases.json", import.meta.url));
const examples = fromFileUrl(new URL("../../policies", import.meta.url));

async function directory(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "csvn-policy-cli-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

const CONFIG = `
vms:
  - {name: web, socket: DIR/web.sock, labels: {app: web}}
  - {name: db, socket: DIR/db.sock, labels: {app: db}, ports: [{name: postgres, port: 5432}]}
`;

Deno.test("policy check: all errors at once and exit code 1, or their number", async () => {
  await using dir = await directory();
  const file = `${dir.path}/p.yaml`;
  await Deno.writeTextFile(
    file,
    `${networkPolicy("{egres: []}")}---\n${networkPolicy("{ingress: [{ports: [{port: 0}]}]}", "q")}`,
  );
  const wrong = await run(["policy", "check", file]);
  assertEquals([wrong.code, wrong.stdout], [1, ""]);
  const lines = wrong.stderr.trimEnd().split("\n").slice(-2);
  assertStringIncludes(lines[0]!, `${file}:1:`);
  assertStringIncludes(lines[1]!, `${file}:3:`);
  assertMatch(lines[1]!, /spec\.ingress\[0\]\.ports\[0\]\.port: 0 is not a port/);
  const right = await run(["policy", "check", examples]);
  assertEquals([right.code, right.stdout], [0, "10 policies, no errors\n"]);
});

Deno.test("policy test: mismatches, a count, and exit code 1 if there are any", async () => {
  await using dir = await directory();
  const good = await run(["policy", "test", cases]);
  assertEquals([good.code, good.stdout], [0, "1028 passed, 0 failed\n"]);
  const text = (await Deno.readTextFile(cases)).replace('"expect": "deny"', '"expect": "allow"');
  await Deno.writeTextFile(`${dir.path}/bad.json`, text);
  const bad = await run(["policy", "test", `${dir.path}/bad.json`, cases]);
  assertEquals(bad.code, 1);
  const lines = bad.stdout.trimEnd().split("\n");
  assertMatch(lines[0]!, /^recipe 01: .*: expected allow, got deny \(ingress of default\/web: denied/);
  assertEquals([lines.length, lines[1]], [2, "2055 passed, 1 failed"]);
  await Deno.writeTextFile(`${dir.path}/none.json`, "[{}]");
  const none = await run(["policy", "test", `${dir.path}/none.json`]);
  assertEquals([none.code, none.stderr.includes("[0]: policyYaml is missing")], [2, true]);
});

Deno.test("policy explain and diff, of what is configured", async () => {
  await using dir = await directory();
  const config = `${dir.path}/c.yaml`;
  await Deno.writeTextFile(config, CONFIG.replaceAll("DIR", dir.path));
  const [old, next] = [`${dir.path}/old.yaml`, `${dir.path}/new.yaml`];
  await Deno.writeTextFile(
    old,
    networkPolicy("{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: postgres}]}]}"),
  );
  await Deno.writeTextFile(
    next,
    networkPolicy(
      "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}], ports: [{port: postgres}, {port: 80}]}]}",
    ),
  );
  const explain = (
    from: string,
    to: string,
    ...more: string[]
  ): Promise<{ code: number; stdout: string; stderr: string }> =>
    run(["policy", "explain", "--config", config, "--policy", old, "--from", from, "--to", to, ...more]);
  const [allowed, denied, json, unknown] = await Promise.all([
    explain("web", "db:postgres"),
    explain("web", "db:80/tcp"),
    explain("web", "db:80", "--json"),
    explain("wbe", "db:80"),
  ]);
  assertEquals([allowed.code, denied.code, json.code], [0, 0, 0], denied.stderr);
  assertMatch(allowed.stdout, /^web -> db 5432\/tcp: allowed/);
  assertStringIncludes(denied.stdout, `spec.ingress[0] allow (${old}:1): does not match: ports: postgres/tcp`);
  assertEquals([JSON.parse(json.stdout).allow, JSON.parse(json.stdout).directions.length], [false, 2]);
  assertEquals([unknown.code, unknown.stderr.includes('"wbe" is neither one of web, db, switch nor an address')], [
    2,
    true,
  ]);
  const [diff, same] = await Promise.all([
    run(["policy", "diff", old, next, "--config", config]),
    run(["policy", "diff", old, old, "--config", config]),
  ]);
  assertEquals([diff.code, same.code], [1, 0], diff.stderr);
  assertMatch(diff.stdout, /^\+ allow web -> db 80\/tcp: /m);
  assertMatch(diff.stdout, /^- deny {2}0\.0\.0\.0-255\.255\.255\.255 -> db 5432\/tcp: /m);
  assertStringIncludes(same.stdout, "no connection between the VMs, or with the outside, changes");
});

Deno.test("a running switch: show, explain, diff, reload by hand and by SIGHUP; an error at the start is fatal", async () => {
  await using dir = await directory();
  const [config, file, api] = [`${dir.path}/c.yaml`, `${dir.path}/p.yaml`, `${dir.path}/api`];
  await Deno.writeTextFile(config, CONFIG.replaceAll("DIR", dir.path));
  await Deno.writeTextFile(file, "{");
  const fatal = await run(["--config", config, "--policy", file]);
  assertEquals(fatal.code, 2);
  assertStringIncludes(fatal.stderr, `csvn: ${file}:1:2: `);
  await Deno.writeTextFile(
    file,
    networkPolicy("{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 5432}]}]}"),
  );
  const audit = `${dir.path}/audit.jsonl`;
  await using program = new Running(["--config", config, "--policy", file, "--api", api, "--audit-log", audit]);
  await program.says("listening on");
  await using web = await FakeDriver.boot(`${dir.path}/web.sock`);
  await using db = await FakeDriver.boot(`${dir.path}/db.sock`);
  await db.listen(5432);
  await web.mustConnect(db.address, 5432);
  const next = `${dir.path}/next.yaml`;
  await Deno.writeTextFile(next, networkPolicy("{podSelector: {matchLabels: {app: db}}}"));
  const [show, explain, diff, unknown] = await Promise.all([
    run(["policy", "show", "--api", api]),
    run(["policy", "explain", "--api", api, "--from", "web", "--to", "db:80"]),
    run(["policy", "diff", next, "--api", api]),
    run(["policy", "explain", "--api", api, "--from", "web", "--to", "nobody:80"]),
  ]);
  assertMatch(show.stdout, /^revision [0-9a-f]{12}: 1 policies from .*\nVMs that no policy selects: not isolated\n$/);
  assertMatch(explain.stdout, /^web -> db 80\/tcp: denied/);
  assertEquals(diff.code, 1, diff.stderr);
  assertMatch(diff.stdout, /^- deny {2}web -> db 5432\/tcp: /m);
  assertMatch(diff.stdout, /^cut circuit 1: web 10\.77\.0\.2:\d+ -> db 10\.77\.0\.3:5432\/tcp: ingress of db: denied/m);
  assertEquals([unknown.code, unknown.stderr.includes('"nobody" is neither')], [1, true]);
  assertEquals(web.resets.size, 0);
  // A broken file is told to who asks, and by show.
  await Deno.writeTextFile(file, networkPolicy("{egres: []}"));
  const broken = await run(["policy", "reload", "--api", api]);
  assertEquals([broken.code, broken.stderr.includes(`csvn: ${file}:1:`)], [2, true]);
  assertStringIncludes((await run(["policy", "show", "--api", api])).stdout, "errors in the files as they are now");
  await Deno.copyFile(next, file);
  await until("it is cut", () => web.resets.size === 1);
  const reloaded = await run(["policy", "reload", "--api", api]);
  assertMatch(reloaded.stdout, /^policy revision [0-9a-f]{12}: 1 policies, as before\n$/);
  // Log rotation: the audit log goes on in a new file.
  await Deno.rename(audit, `${audit}.1`);
  program.signal("SIGHUP");
  await until("a new audit log", () => {
    try {
      return Deno.statSync(audit).isFile;
    } catch {
      return false;
    }
  });
  assert((await Deno.readTextFile(`${audit}.1`)).includes('"event":"opened"'));
});

Deno.test("wrong requests to the API are told what is wrong", async () => {
  await using dir = await directory();
  const api = `${dir.path}/api`;
  await using program = new Running(["--socket", `${dir.path}/s`, "--api", api]);
  await until("its API", () => {
    try {
      return Deno.statSync(api).isSocket;
    } catch {
      return false;
    }
  }, 20_000);
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path: api } });
  const ask = async (method: string, path: string, body?: string): Promise<unknown[]> => {
    const response = await fetch(`http://127.0.0.1${path}`, { method, client, ...(body !== undefined && { body }) });
    return [response.status, (await response.json()).error];
  };
  assertEquals(await ask("GET", "/v1/nothing"), [404, "no such resource: /v1/nothing"]);
  assertEquals(await ask("POST", "/v1/status"), [405, "use GET"]);
  assertEquals(await ask("GET", "/v1/policy/reload"), [405, "use POST"]);
  assertEquals(await ask("GET", "/v1/policy/explain?from=a"), [400, "from=… and to=… are expected"]);
  assertEquals((await ask("GET", "/v1/policy/explain?from=a&to=b:1"))[0], 400);
  for (const body of ["", "{", "[]", "null", '{"paths": []}', '{"paths": [1]}', '{"paths": "a"}']) {
    assertEquals(await ask("POST", "/v1/policy/diff", body), [400, '{"paths": ["…"]} is expected']);
  }
  assertEquals((await ask("POST", "/v1/policy/diff", " ".repeat(70_000)))[0], 400);
  assertEquals((await ask("POST", "/v1/policy/diff", '{"paths": ["/nowhere"]}'))[0], 400);
  assertEquals((await ask("GET", "/v1/policy"))[0], 200);
  await program.stop();
});
