import { assertEquals } from "@std/assert";
import { carriedOver } from "../../tools/testbed/debian.ts";

Deno.test("carriedOver() keeps transport settings, and no others", () => {
  const dump = `APT "";
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::Verify-Peer "true";
Acquire::AllowInsecureRepositories "0";
Acquire::Check-Valid-Until "false";
Acquire::Languages:: "none";
Acquire::Retries "3";
DPkg::Post-Invoke:: "rm -rf x";
`;
  assertEquals(
    carriedOver(dump),
    `Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::Verify-Peer "true";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
`,
  );
});
