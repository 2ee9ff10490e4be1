/**
 * A switch that cannot start.
 *
 * @module
 */

import { assertEquals, assertRejects } from "@std/assert";
import { Switch, type SwitchOptions } from "../../src/host/switch.ts";
import { parseAddress } from "../../src/net/address.ts";

/** Descriptors of this process, by what they lead to. */
function descriptors(): string[] {
  return [...Deno.readDirSync("/proc/self/fd")].flatMap(({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/self/fd/${name}`).replace(/\[\d+\]/, "[]");
    } catch {
      return []; // it was that of the directory
    }
  }).sort();
}

Deno.test("Switch.start() that fails leaves nothing open, wherever it fails", async (t) => {
  const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
  await Deno.writeTextFile(`${directory}/wrong.yaml`, "{");
  const [one, two] = ["127.0.0.1", "127.0.0.2"].map((address) => ({ address: parseAddress(address), port: 80 }));
  const address = parseAddress("10.77.0.2");
  // The policies, the audit log and the host's resolvers are followed in all of them.
  const cases: Record<string, [SwitchOptions, string]> = {
    "policies that are wrong": [{ policy: { paths: [`${directory}/wrong.yaml`] } }, "PolicyError"],
    "an audit log that cannot be opened": [{ auditLog: `${directory}/nowhere/audit` }, "SystemError"],
    "ports of the host that collide": [{ allowHost: [one!, two!] }, "DirectoryError"],
    "addresses that collide": [{
      vms: ["a", "b"].map((name) => ({ name, socket: `${directory}/${name}`, address })),
    }, "DirectoryError"],
    "a socket that cannot be listened on": [{ sockets: [`${directory}/s`, `${directory}/nowhere/s`] }, "SystemError"],
  };
  // What a process opens once stays open.
  await (await Switch.start({}))[Symbol.asyncDispose]();
  const before = descriptors();
  for (const [what, [options, error]] of Object.entries(cases)) {
    await t.step(what, async () => {
      const { name } = await assertRejects(() => Switch.start({ auditLog: `${directory}/audit`, ...options }), Error);
      assertEquals([name, descriptors()], [error, before]);
    });
  }
  await Deno.remove(directory, { recursive: true });
});
