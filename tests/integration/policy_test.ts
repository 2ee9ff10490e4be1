/**
 * Policy files on the real switch: fake guests connect, ask for names, and are cut when the files change.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Rcode } from "../../src/dns/message.ts";
import type { SwitchOptions } from "../../src/host/switch.ts";
import { Errno } from "../../src/errno.ts";
import { parseAddress } from "../../src/net/address.ts";
import { answerTo, decode, FakeUpstream, queryBytes, record } from "../support/dns.ts";
import type { FakeCircuit } from "../support/fake_circuit.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { circuitPolicy, networkPolicy } from "../support/policies.ts";
import { startTestSwitch, type TestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const GATEWAY = "10.77.0.1";
const UPSTREAM = "127.77.4.53";
const SERVER = "127.77.4.9";

interface PolicedSwitch extends TestSwitch {
  readonly web: FakeDriver;
  readonly db: FakeDriver;
  write(...policies: string[]): Promise<void>;
}

/** A switch with policies and two guests: `web` and `db`, labelled by their names. */
async function policed(policies: readonly string[], more: Partial<SwitchOptions> = {}): Promise<PolicedSwitch> {
  const directory = await Deno.makeTempDir({ prefix: "csvn-policies-" });
  const file = `${directory}/policy.yaml`;
  const write = (...policies: string[]): Promise<void> => Deno.writeTextFile(file, policies.join("---\n"));
  await write(...policies);
  const net = await startTestSwitch({
    ...more,
    policy: { paths: [file], ...more.policy },
    vms: ["web", "db"].map((name) => ({
      name,
      socket: `./${name}.sock`,
      labels: { app: name },
      ports: name === "db" ? [{ name: "postgres", port: 5432, protocol: "tcp" as const }] : [],
    })),
  });
  const [web, db] = [
    await FakeDriver.boot(`${net.directory}/web.sock`),
    await FakeDriver.boot(`${net.directory}/db.sock`),
  ];
  for (const port of [5432, 80]) await db.listen(port);
  return {
    ...net,
    web,
    db,
    write,
    async [Symbol.asyncDispose](): Promise<void> {
      await web[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
      await net[Symbol.asyncDispose]();
      await Deno.remove(directory, { recursive: true });
    },
  };
}

async function outcome(from: FakeDriver, to: string, port: number): Promise<FakeCircuit | number> {
  return await from.connect(to, port);
}

const onlyPostgres = networkPolicy(
  "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: postgres}]}]}",
);
const nothing = networkPolicy("{podSelector: {matchLabels: {app: db}}}");

Deno.test("a NetworkPolicy decides about connections between VMs, by labels and names of ports", async () => {
  await using net = await policed([onlyPostgres]);
  const { web, db } = net;
  assert(typeof await outcome(web, db.address, 5432) !== "number");
  assertEquals(await outcome(web, db.address, 80), Errno.ECONNREFUSED);
  assert(
    net.log.some((line) => line.includes("denied: web") && line.includes("default/p isolates it")),
    net.log.join("\n"),
  );
});

Deno.test("a changed file cuts what it forbids within 100 ms, and its neighbour never notices", async () => {
  await using net = await policed([networkPolicy("{podSelector: {matchLabels: {app: db}}, ingress: [{}]}")]);
  const { web, db } = net;
  const [doomed, spared] = [await web.mustConnect(db.address, 80), await web.mustConnect(db.address, 5432)];
  await db.accept();
  const { circuit: far } = await db.accept();
  await net.write(onlyPostgres);
  const began = performance.now();
  await until("one is reset", () => web.resets.has(doomed.id));
  const took = performance.now() - began;
  assertEquals([...web.resets.keys()], [doomed.id]);
  await doomed.close();
  spared.write(new TextEncoder().encode("still here"));
  assertEquals(new TextDecoder().decode(await far.readAll(10)), "still here");
  assertEquals(await outcome(web, db.address, 80), Errno.ECONNREFUSED);
  // deno-lint-ignore no-console -- how long it took is told, not judged
  console.log(`cut ${Math.round(took)} ms after the file was written`);
});

Deno.test("onChange keep: what is there stays, what is new is refused", async () => {
  await using net = await policed([onlyPostgres], { policy: { onChange: "keep" } });
  const { web, db } = net;
  const circuit = await web.mustConnect(db.address, 5432);
  await db.accept();
  await net.write(nothing);
  await until(
    "the new set",
    () => net.csvn.policy.status().revision !== undefined && net.log.some((line) => line.includes("its files changed")),
  );
  assertEquals(await outcome(web, db.address, 5432), Errno.ECONNREFUSED);
  assertEquals(web.resets.size, 0);
  await circuit.close();
});

Deno.test("a broken file changes nothing and says where it is broken; mending it does", async () => {
  await using net = await policed([onlyPostgres]);
  const { web, db } = net;
  await web.mustConnect(db.address, 5432);
  await db.accept();
  await net.write(
    nothing,
    "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: q}, spec: {egres: []}}\n",
  );
  await until("the error", () => net.csvn.policy.status().error);
  assertStringIncludes(net.csvn.policy.status().error!, "policy.yaml:3:85: spec.egres: unknown field");
  assert(net.log.some((line) => line.includes("policy stays at revision")));
  assert(net.log.some((line) => line.includes("policy.yaml:3:85")));
  assertEquals(web.resets.size, 0);
  assert(typeof await outcome(web, db.address, 5432) !== "number");
  const { error, changed } = await net.csvn.policy.reload("test");
  assertEquals([error !== undefined, changed], [true, false]);
  await net.write(nothing);
  await until("the mended set", () => web.resets.size === 2);
});

Deno.test("--default deny isolates VMs that no policy selects", async () => {
  await using net = await policed([onlyPostgres], { policy: { default: "deny" } });
  const { web, db } = net;
  assertEquals(await outcome(web, db.address, 5432), Errno.ECONNREFUSED);
  assert(net.log.some((line) => line.includes("egress of web: denied by default, since no policy selects it")));
  await net.write(
    onlyPostgres,
    networkPolicy("{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{}]}", "q"),
  );
  await until("the new set", () => net.csvn.policy.status().policies === 2);
  assert(typeof await outcome(web, db.address, 5432) !== "number");
});

/** Ask the switch's resolver, over TCP. */
async function resolve(vm: FakeDriver, name: string): Promise<{ rcode: number; addresses: unknown[] }> {
  const circuit = await vm.mustConnect(GATEWAY, 53);
  const query = queryBytes(name, "A");
  circuit.write(Uint8Array.of(query.length >> 8, query.length & 255, ...query));
  circuit.ring();
  let answer = await circuit.readAll(2);
  const end = (answer[0]! << 8 | answer[1]!) + 2;
  if (answer.length < end) answer = Uint8Array.of(...answer, ...await circuit.readAll(end - answer.length));
  const { flags, data } = decode(answer.subarray(2));
  await circuit.close();
  return { rcode: flags! & 15, addresses: data };
}

Deno.test("egress by name: what the switch's resolver told this VM, and for as long as it said", async () => {
  const listener = Deno.listen({ hostname: SERVER, port: 0 });
  await using upstream = await FakeUpstream.start(UPSTREAM, (query) => {
    const { name } = query.questions[0]!;
    const alias = record(name, "CNAME", "edge.cdn.test", 1);
    return [answerTo(query, [alias, record("edge.cdn.test", "A", SERVER, 60)])];
  });
  const { port } = listener.addr as Deno.NetAddr;
  await using net = await policed([
    networkPolicy("{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}"),
    circuitPolicy(
      `{podSelector: {matchLabels: {app: web}}, egress: [{action: Allow, to: [{domainNames: ["*.example.com"]}], ports: [{port: ${port}}]}]}`,
    ),
  ], {
    outside: true,
    resolvers: [upstream.endpoint],
    allowHost: [{ address: parseAddress(SERVER), port }],
  });
  const { web, db } = net;
  await until("web's resolver", async () => typeof await web.connect(GATEWAY, 53) !== "number");
  assertEquals(await outcome(web, SERVER, port), Errno.ECONNREFUSED);
  // Another VM's question, and another name's answer, are of no use.
  assertEquals((await resolve(db, "api.example.com")).addresses.length, 2);
  assertEquals((await resolve(web, "evil.test")).rcode, Rcode.NXDOMAIN);
  const above = await resolve(web, "example.com");
  assertEquals([above.rcode, above.addresses], [Rcode.NOERROR, []], "there are names below it");
  assertEquals(net.csvn.status().vms.map(({ name, hiddenNames }) => [name, hiddenNames]), [["web", 2], ["db", 0]]);
  assert(net.log.some((line) => line.startsWith("hidden: web asked for evil.test, A")));
  assertEquals(upstream.queries.map(({ query }) => query.questions[0]!.name), ["api.example.com"]);
  assertEquals(await outcome(web, SERVER, port), Errno.ECONNREFUSED);
  assertEquals((await resolve(web, "api.example.com")).rcode, 0);
  const circuit = await web.mustConnect(SERVER, port);
  using accepted = await listener.accept();
  assert(accepted);
  // The alias lasts a second, whatever the address's own time to live.
  await until("its time to live is over", async () => {
    const again = await web.connect(SERVER, port);
    if (typeof again === "number") return true;
    (await listener.accept()).close();
    await again.close();
    return undefined;
  });
  // A new set asks about the name that it had when it was connected.
  await net.write(
    networkPolicy("{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}"),
    circuitPolicy(
      `{podSelector: {matchLabels: {app: web}}, egress: [{action: Allow, to: [{domainNames: ["api.example.com"]}]}]}`,
    ),
  );
  await until("the new set", () => net.log.some((line) => line.includes("policy changed")));
  assertEquals(web.resets.size, 0);
  await circuit.close();
  listener.close();
});

Deno.test("what a VM may not ask for is not forwarded, whatever the type, and its own names are answered", async () => {
  await using upstream = await FakeUpstream.start(UPSTREAM, (query) => [answerTo(query, [])]);
  await using net = await policed([
    networkPolicy(
      `{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53}]}]}`,
    ),
  ], { resolvers: [upstream.endpoint] });
  const { web, db } = net;
  await until("its resolver", async () => typeof await web.connect(GATEWAY, 53) !== "number");
  // The rule for the resolver itself lets every name be asked for.
  assertEquals((await resolve(web, "db")).addresses, [db.address]);
  assertEquals((await resolve(web, "secret.evil.test")).rcode, 0);
  await net.write(networkPolicy("{podSelector: {}, policyTypes: [Egress]}"));
  await until("the new set", () => net.log.some((line) => line.includes("policy changed")));
  assertEquals(await outcome(web, GATEWAY, 53), Errno.ECONNREFUSED);
  assertEquals(upstream.queries.length, 1);
});

Deno.test("audit: what would have been denied is allowed, and said", async () => {
  await using net = await policed([nothing], {
    policy: { audit: true },
    auditLog: `${await Deno.makeTempDir()}/audit.jsonl`,
  });
  const { web, db } = net;
  assert(typeof await outcome(web, db.address, 5432) !== "number");
  assert(net.log.some((line) => line.includes("would be denied: web")), net.log.join("\n"));
});

Deno.test("the audit log names VMs with their labels, the rule and the revision, and what was carried", async () => {
  const path = `${await Deno.makeTempDir({ prefix: "csvn-audit-" })}/audit.jsonl`;
  {
    await using net = await policed([onlyPostgres], { auditLog: path });
    const { web, db } = net;
    const circuit = await web.mustConnect(db.address, 5432);
    const { circuit: far } = await db.accept();
    await circuit.close();
    await far.close();
    await outcome(web, db.address, 80);
    assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
  }
  const [opened, closed, denied, ...rest] = (await Deno.readTextFile(path)).trimEnd().split("\n").map((line) =>
    JSON.parse(line)
  );
  assertEquals(rest, []);
  assertEquals([opened.event, closed.event, denied.event], ["opened", "closed", "denied"]);
  const from = {
    vm: "web",
    namespace: "default",
    labels: { app: "web" },
    address: "10.77.0.2",
    port: opened.from.port,
  };
  assertEquals([opened.from, opened.to.vm, opened.to.port, opened.way], [from, "db", 5432, "direct"]);
  assertEquals([opened.ingress.rule.policy, opened.ingress.rule.path], ["default/p", "spec.ingress[0]"]);
  assertEquals([closed.circuit, opened.revision], [opened.circuit, denied.revision]);
  assertEquals([denied.ingress, denied.errno], [
    { verdict: "deny", basis: "isolated", policies: ["default/p"] },
    "ECONNREFUSED",
  ]);
});

Deno.test("explain and preview answer for the VMs that are there, and for their circuits", async () => {
  await using net = await policed([onlyPostgres]);
  const { web, db } = net;
  await web.mustConnect(db.address, 5432);
  assertEquals(net.csvn.policy.explain("web", "db:postgres").allow, true);
  const explanation = net.csvn.policy.explain("web", "db:80");
  assertEquals([explanation.allow, explanation.directions.map(({ allow }) => allow)], [false, [true, false]]);
  const file = await Deno.makeTempFile({ suffix: ".yaml" });
  await Deno.writeTextFile(file, nothing);
  const { changes, cut, revisionBefore } = await net.csvn.policy.preview([file]);
  await Deno.remove(file);
  assertEquals(changes.map(({ from, to, ports, allowedAfter }) => [from, to, ports, allowedAfter]), [["web", "db", [
    5432,
    5432,
  ], false]]);
  assertEquals(cut.map(({ from, to, destination }) => [from, to, destination]), [["web", "db", "10.77.0.3:5432"]]);
  assertEquals(net.csvn.policy.status().revision, revisionBefore);
  assertEquals(web.resets.size, 0);
});
