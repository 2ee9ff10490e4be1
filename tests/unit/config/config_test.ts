import { assertEquals } from "@std/assert";
import { mergeConfig, NOTHING } from "../../../src/config/config.ts";

Deno.test("mergeConfig() lets the second win where it says something, and joins lists", () => {
  const merged = mergeConfig(
    { ...NOTHING, sockets: ["/a"], vms: [{ name: "web", socket: "/w" }], policy: "deny", api: "/x", ringBytes: 1 },
    { ...NOTHING, sockets: ["/b"], vms: [{ name: "db", socket: "/d" }], policy: "allow", api: undefined },
  );
  assertEquals(merged, {
    ...NOTHING,
    sockets: ["/a", "/b"],
    vms: [{ name: "web", socket: "/w" }, { name: "db", socket: "/d" }],
    policy: "allow",
    api: "/x",
    ringBytes: 1,
  });
});
