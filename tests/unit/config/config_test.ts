import { assertEquals, assertThrows } from "@std/assert";
import {
  checkResources,
  type Config,
  ConfigError,
  mergeConfig,
  NOTHING,
  policyOptions,
} from "../../../src/config/config.ts";

Deno.test("mergeConfig() lets the second win where it says something, and joins lists", () => {
  const merged = mergeConfig(
    {
      ...NOTHING,
      sockets: [{ path: "/a" }],
      vms: [{ name: "web", socket: "/w" }],
      policy: ["deny"],
      api: "/x",
      ringBytes: 1,
    },
    { ...NOTHING, sockets: [{ path: "/b" }], vms: [{ name: "db", socket: "/d" }], policy: ["allow"], api: undefined },
  );
  assertEquals(merged, {
    ...NOTHING,
    sockets: [{ path: "/a" }, { path: "/b" }],
    vms: [{ name: "web", socket: "/w" }, { name: "db", socket: "/d" }],
    policy: ["allow"],
    api: "/x",
    ringBytes: 1,
  });
});

Deno.test("policyOptions() tells words from paths", () => {
  const options = (policy: string[], more: Partial<Config> = {}): unknown => {
    const { paths, default: action } = policyOptions({ ...NOTHING, policy, ...more });
    return [paths, action];
  };
  assertEquals(options([]), [[], undefined]);
  assertEquals(options(["allow"]), [[], "allow"]);
  assertEquals(options(["deny"]), [[], "deny"]);
  assertEquals(options(["./deny", "p"], { defaultAction: "deny" }), [["./deny", "p"], "deny"]);
  assertThrows(() => options(["deny", "p"]), ConfigError, "deny stands alone");
  assertThrows(() => options(["allow"], { defaultAction: "deny" }), ConfigError, "allow leaves nothing to a default");
});

Deno.test("checkResources() wants a control group for what VMs may have", () => {
  const vms = [{ name: "web", socket: "/w" }, { name: "db", socket: "/d", cpus: "0" }];
  checkResources({ ...NOTHING, vms, cgroup: "/g" });
  checkResources({ ...NOTHING, vms: vms.slice(0, 1) });
  assertThrows(() => checkResources({ ...NOTHING, vms }), ConfigError, "vms[1].cpus: takes a control group");
  const sockets = [{ path: "/a", memoryMax: 2 ** 26 }];
  assertThrows(() => checkResources({ ...NOTHING, sockets }), ConfigError, "sockets[0].memoryMax: takes");
});
