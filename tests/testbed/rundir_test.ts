import { assert, assertEquals } from "@std/assert";
import { RunDir } from "../../tools/testbed/rundir.ts";

const PROGRAM = `
import { RunDir } from "${new URL("../../tools/testbed/rundir.ts", import.meta.url)}";
let lost = 0;
for (let i = 0; i < 100; i++) {
  await using dir = await RunDir.create();
  await new Promise((resolve) => setTimeout(resolve, 1));
  await Deno.writeTextFile(dir.path + "/file", "").catch(() => lost++);
}
console.log(lost);
`;

Deno.test("directories that several programs make at once are nobody else's to remove", async () => {
  const tmp = await Deno.makeTempDir({ prefix: "rd" });
  try {
    const outputs = await Promise.all(Array.from({ length: 4 }, () =>
      new Deno.Command(Deno.execPath(), {
        args: ["eval", PROGRAM],
        env: { TMPDIR: tmp },
        stderr: "inherit",
      }).output()));
    assertEquals(outputs.map(({ stdout }) => new TextDecoder().decode(stdout)), Array(4).fill("0\n"));
    assertEquals([...Deno.readDirSync(tmp)], []);
  } finally {
    await Deno.remove(tmp, { recursive: true });
  }
});

Deno.test("a directory whose owner was killed is removed by the next", async () => {
  const tmp = await Deno.makeTempDir({ prefix: "rd" });
  const before = Deno.env.get("TMPDIR");
  try {
    Deno.env.set("TMPDIR", tmp);
    await Deno.mkdir(`${tmp}/csvn-vm-dead`);
    await Deno.writeTextFile(`${tmp}/csvn-vm-dead/lock`, "");
    await using living = await RunDir.create();
    await using next = await RunDir.create();
    const names = [...Deno.readDirSync(tmp)].map(({ name }) => name);
    assertEquals(names.length, 2);
    assert(!names.includes("csvn-vm-dead") && living.path !== next.path);
  } finally {
    if (before === undefined) Deno.env.delete("TMPDIR");
    else Deno.env.set("TMPDIR", before);
    await Deno.remove(tmp, { recursive: true });
  }
});
