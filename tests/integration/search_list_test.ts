/**
 * Resolvers with a list of domains to search, real ones: the C libraries glibc and musl, and Go's own. The names that they try on the way are hidden by policy,
 * and they find the one that is allowed.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { createSocket } from "node:dgram";
import { fromFileUrl } from "@std/path";
import { Rcode } from "../../src/dns/message.ts";
import { Resolver } from "../../src/dns/resolver.ts";
import { fixedUpstreams } from "../../src/dns/upstreams.ts";
import { ensureHostTools } from "../../tools/testbed/host.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { answerTo, FakeDirectory, FakeUpstream, record, RESOLVER, UPSTREAMS } from "../support/dns.ts";

/** Where the resolv.conf of these tests leads: port 53, as resolvers insist. */
const NAMESERVER = "127.77.53.9";
const sources = fromFileUrl(new URL("../support/lookup", import.meta.url));

/** What a guest has: how its program is built from the sources, in a directory. */
const resolvers: Record<string, { readonly tool: string; readonly build: (out: string) => string[] }> = {
  glibc: { tool: "gcc", build: (out) => ["-o", out, `${sources}/lookup.c`] },
  musl: { tool: "musl-gcc", build: (out) => ["-static", "-o", out, `${sources}/lookup.c`] },
  Go: { tool: "go", build: (out) => ["build", "-o", out, `${sources}/lookup.go`] },
};

/** Datagrams to port 53 go to the resolver, and its answers back. */
async function relay(to: number): Promise<AsyncDisposable> {
  const front = createSocket("udp4");
  const backs = new Set<ReturnType<typeof createSocket>>();
  front.on("message", (query: Uint8Array, client: { address: string; port: number }) => {
    const back = createSocket("udp4");
    backs.add(back);
    back.on("message", (answer: Uint8Array) => front.send(answer, client.port, client.address));
    back.send(query, to, RESOLVER);
  });
  await new Promise<void>((resolve) => front.bind(53, NAMESERVER, () => resolve()));
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      for (const socket of [front, ...backs]) await new Promise<void>((resolve) => socket.close(() => resolve()));
    },
  };
}

for (const [name, { tool, build }] of Object.entries(resolvers)) {
  Deno.test({
    name: `${name} goes on in its search list after a name that policy hides`,
    ignore: Deno.uid() !== 0, // only root can give a program another resolv.conf
    async fn(): Promise<void> {
      await ensureHostTools([tool, "unshare"], stderrProgress);
      const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
      const conf = `${directory}/resolv.conf`;
      const text = `nameserver ${NAMESERVER}\nsearch a.test b.test\noptions ndots:5 timeout:20 attempts:1\n`;
      await Deno.writeTextFile(conf, text);
      const built = await new Deno.Command(tool, {
        args: build(`${directory}/lookup`),
        stdout: "null",
        stderr: "piped",
      })
        .output();
      assertEquals(new TextDecoder().decode(built.stderr), "");

      await using upstream = await FakeUpstream.start(UPSTREAMS[0], (query) => {
        const { name, type } = query.questions[0]!;
        const known = name === "api.example.com";
        return [
          answerTo(query, known && type === "A" ? [record(name, "A", "192.0.2.7")] : [], known ? 0 : Rcode.NXDOMAIN),
        ];
      });
      const hidden = new Set<string>();
      await using resolver = await Resolver.start({
        zone: new FakeDirectory().zone,
        upstreams: fixedUpstreams([upstream.endpoint]),
        hostname: RESOLVER,
        mayForward: (name) => name === "api.example.com" ? "yes" : name === "example.com" ? "below" : "no",
        onHidden: (name) => void hidden.add(name),
      });
      await using _ = await relay(resolver.udp.port);
      const inside = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"';
      const names = ["api.example.com", "web", "secret.example.org"];
      const { stdout, stderr } = await new Deno.Command("unshare", {
        args: ["-m", "sh", "-c", inside, "sh", conf, `${directory}/lookup`, ...names],
        stdout: "piped",
        stderr: "piped",
      }).output();
      assertEquals(new TextDecoder().decode(stderr), "");
      const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
      assertEquals(lines[0], "192.0.2.7");
      assert(["10.77.0.10", "fd77:6373:766e::10"].includes(lines[1]!), `a VM by its name alone: ${lines[1]}`);
      assertEquals([lines.length, /^[\d.]+$/.test(lines[2]!)], [3, false]);
      assertEquals(
        new Set(upstream.queries.map(({ query }) => query.questions[0]!.name)),
        new Set(["api.example.com"]),
      );
      assertEquals(hidden.has("api.example.com.a.test") && hidden.has("secret.example.org"), true);
      await Deno.remove(directory, { recursive: true });
    },
  });
}
