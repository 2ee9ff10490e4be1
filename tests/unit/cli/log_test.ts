import { assertEquals } from "@std/assert";
import { printable } from "../../../src/cli/log.ts";

Deno.test("printable() lets nobody end a line, or steer a terminal", () => {
  assertEquals(printable("a\nb\r\u001b[2J\u007f\u009b\u2028c"), "a\\u000ab\\u000d\\u001b[2J\\u007f\\u009b\\u2028c");
  assertEquals([printable("größe ✓"), printable(12n), printable(undefined)], ["größe ✓", "12", "undefined"]);
});
