/**
 * The tests of Go's net package, over the guest's own stack and over circuits that have both ends in the guest: what passes over the one must
 * pass over the other, but for the list of differences.
 *
 *     deno task test:peers
 *
 * @module
 */

import { assertEquals, assertGreater } from "@std/assert";
import { basename, join } from "@std/path";
import type { Guest } from "../../tools/testbed/guest.ts";
import { ensureHostTools } from "../../tools/testbed/host.ts";
import { capture } from "../../tools/testbed/process.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { bootGuests } from "../support/guests.ts";

/** What ends otherwise over circuits than over lo, and why. */
const DIFFERENCES: Record<string, string> = {};

/** How often what went otherwise is run again: some tests count milliseconds. */
const AGAIN = 2;

/** Build the package's tests with other addresses than the loopback's; the program's path, in a directory that is the caller's to remove. */
async function build(directory: string, name: string, addresses?: { four: string; six: string }): Promise<string> {
  const { stdout: root } = await capture(["go", "env", "GOROOT"]);
  const source = join(await Deno.realPath(join(root.trim(), "src")), "net");
  const replace: Record<string, string> = {};
  for await (const { name: file } of Deno.readDir(source)) {
    if (!addresses || !file.endsWith("_test.go")) continue;
    const text = await Deno.readTextFile(join(source, file));
    const changed = text.replaceAll("127.0.0.1", addresses.four).replaceAll(/\[::1\]/g, `[${addresses.six}]`)
      .replaceAll('"::1"', `"${addresses.six}"`);
    if (changed === text) continue;
    const copy = join(directory, file);
    await Deno.writeTextFile(copy, changed);
    replace[join(source, file)] = copy;
  }
  const overlay = join(directory, "overlay.json");
  await Deno.writeTextFile(overlay, JSON.stringify({ Replace: replace }));
  const output = join(directory, name);
  const { code, stderr } = await capture(
    ["go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", output, "net"],
    {
      env: {
        CGO_ENABLED: "0",
        GOCACHE: join(directory, "cache"),
        GOPATH: join(directory, "path"),
        GOTOOLCHAIN: "local",
      },
    },
  );
  assertEquals([code, stderr], [0, ""]);
  return output;
}

/** Outcomes by test. */
async function outcomes(guest: Guest, program: string, only: readonly string[] = []): Promise<Map<string, string>> {
  const pattern = only.length === 0 ? "" : `-test.run '^(${only.join("|")})$'`;
  const { stdout, stderr } = await guest.run(
    `cd /tmp/net && ${program} -test.v -test.timeout 20m ${pattern} 2>&1`,
    { timeoutMs: 1_300_000 },
  );
  const found = new Map<string, string>();
  for (const [, outcome, name] of stdout.matchAll(/^--- (PASS|FAIL|SKIP): (\w+) /gm)) found.set(name!, outcome!);
  if (found.size === 0 || /^panic: /m.test(stdout)) throw new Error(`no end: ${stdout.slice(-2000)}${stderr}`);
  return found;
}

Deno.test("the tests of Go's net package end over circuits as over lo", async () => {
  await ensureHostTools(["go"], stderrProgress);
  await using stack = new AsyncDisposableStack();
  const directory = await Deno.makeTempDir({ prefix: "csvn-go-net-" });
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  const vms = stack.use(await bootGuests(["go"], { guest: { moduleArgs: "hairpin=1", memoryMiB: 768 } }));
  const guest = vms.guests["go"]!;
  const { stdout } = await guest.run("ip -o addr show dev csvn0 scope global", { check: true });
  const [four, six] = [...stdout.matchAll(/inet6? ([0-9a-f.:]+)\//g)].map(([, address]) => address!) as [
    string,
    string,
  ];
  for (const [name, addresses] of [["lo.test", undefined], ["circuits.test", { four, six }]] as const) {
    const program = await build(directory, name, addresses);
    await guest.run(`mkdir -p /tmp/net && cat >/tmp/net/${name} && chmod +x /tmp/net/${name}`, {
      stdin: await Deno.readFile(program),
      check: true,
    });
  }
  const { stdout: root } = await capture(["go", "env", "GOROOT"]);
  const data = join(await Deno.realPath(join(root.trim(), "src")), "net", "testdata");
  await guest.run("mkdir -p /tmp/net/testdata", { check: true });
  for await (const { name, isFile } of Deno.readDir(data)) {
    if (!isFile) continue;
    await guest.run(`cat >'/tmp/net/testdata/${basename(name)}'`, {
      stdin: await Deno.readFile(join(data, name)),
      check: true,
    });
  }

  const lo = await outcomes(guest, "./lo.test");
  const passed = [...lo.keys()].filter((name) => lo.get(name) === "PASS");
  assertGreater(passed.length, 100);
  const differing = (seen: Map<string, string>, names: readonly string[]): string[] =>
    names.filter((name) => seen.get(name) !== "PASS" && !(name in DIFFERENCES));
  let circuits = await outcomes(guest, "./circuits.test");
  let differ = differing(circuits, passed);
  for (let i = 0; i < AGAIN && differ.length > 0; i++) {
    circuits = await outcomes(guest, "./circuits.test", differ);
    differ = differing(circuits, differ);
  }
  assertEquals(differ.map((name) => `${name}: ${circuits.get(name)}`), []);
  assertGreater(Number((await guest.run("cat /sys/class/net/csvn0/csvn/connects", { check: true })).stdout), 100);
  assertEquals((await guest.run("dmesg | grep -E 'BUG|Oops|WARNING'")).stdout, "");
});
