import { assertEquals, assertThrows } from "@std/assert";
import { makeCpio } from "../../tools/testbed/cpio.ts";
import { TestbedError } from "../../tools/testbed/errors.ts";
import { packageList } from "../../tools/testbed/image.ts";
import { parseModulesDep, resolveModules } from "../../tools/testbed/modules.ts";
import { isFit, parseQemuVersion } from "../../tools/testbed/qemu.ts";
import { deviceOption, encodeParameter, quoted } from "../../tools/testbed/qemu_args.ts";

Deno.test("parseQemuVersion() and isFit() know what is new enough", () => {
  const text = "QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1)\n";
  assertEquals(parseQemuVersion(text), [11, 1, 3]);
  assertEquals(parseQemuVersion("no such thing"), undefined);
  assertEquals(isFit([11, 1, 0]), true);
  assertEquals(isFit([12, 0, 0]), true);
  assertEquals(isFit([11, 0, 9]), false);
  assertEquals(isFit([7, 2, 0]), false);
});

Deno.test("resolveModules() puts dependencies first and skips what is built in", () => {
  const index = parseModulesDep(
    `kernel/net/a-b.ko.xz: kernel/lib/c.ko.xz kernel/lib/d.ko.xz
kernel/lib/c.ko.xz: kernel/lib/d.ko.xz
kernel/lib/d.ko.xz:
`,
  );
  assertEquals(resolveModules(index, ["built_in", "a_b", "c"]), [
    "kernel/lib/d.ko.xz",
    "kernel/lib/c.ko.xz",
    "kernel/net/a-b.ko.xz",
  ]);
});

Deno.test("packageList() sorts, and refuses what is no package's name", () => {
  const list = packageList(["zsh", "curl"]);
  assertEquals(list, [...new Set(list)].sort());
  assertEquals(list.includes("zsh"), true);
  assertThrows(() => packageList(["--evil"]), TestbedError);
  assertThrows(() => packageList(["a b"]), TestbedError);
});

Deno.test("makeCpio() is read back by cpio's rules", () => {
  const archive = makeCpio([
    { path: "d", type: "directory", mode: 0o755 },
    {
      path: "d/f",
      type: "file",
      mode: 0o600,
      data: new TextEncoder().encode("12345"),
    },
    { path: "l", type: "symlink", target: "d/f" },
  ]);
  const text = new TextDecoder("latin1").decode(archive);
  const entries: [string, number, string][] = [];
  for (let at = 0; at < text.length;) {
    assertEquals(text.slice(at, at + 6), "070701");
    const field = (index: number): number => Number.parseInt(text.slice(at + 6 + 8 * index, at + 14 + 8 * index), 16);
    const [mode, size, nameSize] = [field(1), field(6), field(11)];
    const name = text.slice(at + 110, at + 110 + nameSize - 1);
    const data = (at + 110 + nameSize + 3) & ~3;
    entries.push([name, mode, text.slice(data, data + size)]);
    at = (data + size + 3) & ~3;
  }
  assertEquals(entries, [
    ["d", 0o040755, ""],
    ["d/f", 0o100600, "12345"],
    ["l", 0o120777, "d/f"],
    ["TRAILER!!!", 0, ""],
  ]);
});

Deno.test("encodeParameter() leaves no blank or quote in a word", () => {
  assertEquals(encodeParameter("a=1 b='ä'"), "a=1%040b=%047%303%244%047");
  assertEquals(encodeParameter("100%"), "100%045");
});

Deno.test("quoted() doubles commas, as QEMU wants them", () => {
  assertEquals(quoted("/a,b"), "/a,,b");
});

Deno.test("deviceOption() names the device that the switch backs", () => {
  assertEquals(
    deviceOption("rp1"),
    "vhost-user-test-device-pci,id=csvn0-device,chardev=csvn0,virtio-id=21," +
      "num_vqs=4,vq_size=1024,config_size=128,bus=rp1",
  );
});
