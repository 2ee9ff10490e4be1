import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { readReport } from "../../tools/test_report.ts";

Deno.test("what failed, and how, is read from Deno's own report", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = join(folder, "some_test.ts");
    const report = join(folder, "report.xml");
    await Deno.writeTextFile(
      file,
      `Deno.test("one & \\"two\\"", async (t) => {
        await t.step("inner", () => { throw new Error("it is <broken>"); });
      });
      Deno.test("good", () => {});
      Deno.test({ name: "not here", ignore: true, fn: () => {} });`,
    );
    await new Deno.Command(Deno.execPath(), {
      args: ["test", "--no-lock", `--junit-path=${report}`, file],
      cwd: folder,
    })
      .output();
    const { total, failed, skipped, failures } = readReport(await Deno.readTextFile(report));
    assertEquals({ total, failed, skipped }, { total: 4, failed: 2, skipped: 1 });
    assertEquals(failures.map((text) => text.split("\n")[0]?.replace(/^.*: /, "")), [
      'one & "two"',
      'one & "two" > inner',
    ]);
    assertStringIncludes(failures[1] ?? "", "Error: it is <broken>");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("no report is no test", () => {
  assertEquals(readReport(""), { total: 0, failed: 0, skipped: 0, failures: [] });
});
