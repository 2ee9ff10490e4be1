/**
 * Resolvers with a list of domains to search, real ones: the C libraries glibc and musl, Go's own, and systemd-resolved, which searches by itself, or passes on what
 * a library tries. The names that they try on the way are hidden by policy, and they find the one that is allowed.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { Rcode } from "../../src/dns/message.ts";
import { Resolver } from "../../src/dns/resolver.ts";
import { UdpSocket } from "../../src/dns/udp.ts";
import { fixedUpstreams } from "../../src/dns/upstreams.ts";
import { type Endpoint, parseAddress } from "../../src/net/address.ts";
import { ensureHostTools } from "../../tools/testbed/host.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { answerTo, FakeDirectory, FakeUpstream, record, RESOLVER, UPSTREAMS } from "../support/dns.ts";
import { SystemdResolved } from "../support/systemd_resolved.ts";

/** Where the resolv.conf of these tests leads: port 53, as resolvers insist. */
const NAMESERVER = "127.77.53.9";
/** Where systemd-resolved answers. */
const STUB = "127.77.53.8";
const sources = fromFileUrl(new URL("../support/lookup", import.meta.url));

/** How a program that looks names up is built from the sources. */
interface Lookup {
  readonly tool: string;
  readonly build: (out: string) => string[];
}

/** What a guest has. */
const resolvers: Record<string, Lookup> = {
  glibc: { tool: "gcc", build: (out) => ["-o", out, `${sources}/lookup.c`] },
  musl: { tool: "musl-gcc", build: (out) => ["-static", "-o", out, `${sources}/lookup.c`] },
  Go: { tool: "go", build: (out) => ["build", "-o", out, `${sources}/lookup.go`] },
};

/** Datagrams to port 53 go to the resolver, and its answers back. */
async function relay(to: Endpoint): Promise<AsyncDisposable> {
  const backs = new AsyncDisposableStack();
  const front = await UdpSocket.open(parseAddress(NAMESERVER), async (query, client) => {
    const back = await UdpSocket.open(parseAddress(RESOLVER), (answer) => void front.send(answer, client));
    backs.use(back);
    await back.send(query, to);
  }, 53);
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      await front[Symbol.asyncDispose]();
      await backs.disposeAsync();
    },
  };
}

/** A resolver of the switch's, to whose guest policy shows api.example.com and the VMs; what was asked. */
interface Switch extends AsyncDisposable {
  readonly upstream: FakeUpstream;
  readonly hidden: ReadonlySet<string>;
}

async function startSwitch(): Promise<Switch> {
  await using stack = new AsyncDisposableStack();
  const upstream = stack.use(
    await FakeUpstream.start(UPSTREAMS[0], (query) => {
      const { name, type } = query.questions[0]!;
      const known = name === "api.example.com";
      return [
        answerTo(query, known && type === "A" ? [record(name, "A", "192.0.2.7")] : [], known ? 0 : Rcode.NXDOMAIN),
      ];
    }),
  );
  const hidden = new Set<string>();
  const resolver = stack.use(
    await Resolver.start({
      zone: new FakeDirectory().zone,
      upstreams: fixedUpstreams([upstream.endpoint]),
      hostname: RESOLVER,
      mayForward: (name) => name === "api.example.com" ? "yes" : name === "example.com" ? "below" : "no",
      onHidden: (name) => void hidden.add(name),
    }),
  );
  stack.use(await relay(resolver.udp));
  const all = stack.move();
  return { upstream, hidden, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Build a program that looks names up. */
async function buildLookup(directory: string, { tool, build }: Lookup): Promise<string> {
  await ensureHostTools([tool, "unshare"], stderrProgress);
  const lookup = `${directory}/lookup`;
  const built = await new Deno.Command(tool, { args: build(lookup), stdout: "null", stderr: "piped" }).output();
  assertEquals(new TextDecoder().decode(built.stderr), "");
  return lookup;
}

/** Run it with a resolv.conf of its own: its lines. */
async function runLookup(directory: string, lookup: string, conf: string, names: readonly string[]): Promise<string[]> {
  const path = `${directory}/resolv.conf`;
  await Deno.writeTextFile(path, conf);
  const inside = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"';
  const { stdout, stderr } = await new Deno.Command("unshare", {
    args: ["-m", "sh", "-c", inside, "sh", path, lookup, ...names],
    stdout: "piped",
    stderr: "piped",
  }).output();
  assertEquals(new TextDecoder().decode(stderr), "");
  return new TextDecoder().decode(stdout).trimEnd().split("\n");
}

const asked = ({ upstream }: Switch): Set<string> =>
  new Set(upstream.queries.map(({ query }) => query.questions[0]!.name));

for (const [name, how] of Object.entries(resolvers)) {
  Deno.test({
    name: `${name} goes on in its search list after a name that policy hides`,
    ignore: Deno.uid() !== 0, // only root can give a program another resolv.conf
    async fn(): Promise<void> {
      const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
      const lookup = await buildLookup(directory, how);
      await using net = await startSwitch();
      const lines = await runLookup(
        directory,
        lookup,
        `nameserver ${NAMESERVER}\nsearch a.test b.test\noptions ndots:5 timeout:20 attempts:1\n`,
        ["api.example.com", "web", "secret.example.org"],
      );
      assertEquals(lines[0], "192.0.2.7");
      assert(["10.77.0.10", "fd77:6373:766e::10"].includes(lines[1]!), `a VM by its name alone: ${lines[1]}`);
      assertEquals([lines.length, /^[\d.]+$/.test(lines[2]!)], [3, false]);
      assertEquals(asked(net), new Set(["api.example.com"]));
      assertEquals(net.hidden.has("api.example.com.a.test") && net.hidden.has("secret.example.org"), true);
      await Deno.remove(directory, { recursive: true });
    },
  });
}

Deno.test({
  name:
    "systemd-resolved goes on in its search list after a name that policy hides, and a library that asks by it does",
  ignore: Deno.uid() !== 0, // only root can give a program a root of its own
  async fn(): Promise<void> {
    const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
    const lookup = await buildLookup(directory, resolvers.glibc!);
    await using net = await startSwitch();
    // Names without a dot are no business of DNS to it, unless it searches for them.
    const domains = ["a.test", "b.test", "csvn", "example.com"];
    await using resolved = await SystemdResolved.start(NAMESERVER, domains, STUB);
    const none = "io.systemd.Resolve.DNSError";
    assertEquals(
      [await resolved.lookup("web"), await resolved.lookup("api"), await resolved.lookup("secret")],
      ["10.77.0.10", "192.0.2.7", none],
    );
    assertEquals([await resolved.lookup("api.example.com"), await resolved.lookup("x.org")], ["192.0.2.7", none]);
    assert(net.hidden.has("web.a.test") && net.hidden.has("api.b.test") && net.hidden.has("secret.example.com"));
    assertEquals(asked(net), new Set(["api.example.com"]));

    const conf = `nameserver ${STUB}\nsearch a.test b.test csvn\noptions ndots:5 timeout:20 attempts:1\n`;
    const lines = await runLookup(directory, lookup, conf, ["api.example.com", "web", "secret.example.org"]);
    assertEquals(lines[0], "192.0.2.7");
    assert(["10.77.0.10", "fd77:6373:766e::10"].includes(lines[1]!), `a VM: ${lines[1]}`);
    assertEquals([lines.length, /^[\d.]+$/.test(lines[2]!)], [3, false]);
    assert(net.hidden.has("api.example.com.a.test") && net.hidden.has("secret.example.org.b.test"));
    assertEquals(asked(net), new Set(["api.example.com"]));
    await Deno.remove(directory, { recursive: true });
  },
});
