import { assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { PolicyKeeper } from "../../../src/host/policy_keeper.ts";
import { PolicyError } from "../../../src/policy/files.ts";
import { networkPolicy } from "../../support/policies.ts";
import { until } from "../../support/until.ts";

interface Kept extends AsyncDisposable {
  readonly path: string;
  readonly file: string;
  readonly keeper: PolicyKeeper;
  /** Revisions that were swapped in. */
  readonly swaps: string[];
}

async function kept(text: string): Promise<Kept> {
  const path = await Deno.makeTempDir({ prefix: "csvn-keeper-" });
  const file = `${path}/p.yaml`;
  await Deno.writeTextFile(file, text);
  const keeper = await PolicyKeeper.start([file], "allow");
  const swaps: string[] = [];
  keeper.watch(() => swaps.push(keeper.set.revision));
  return {
    path,
    file,
    keeper,
    swaps,
    async [Symbol.asyncDispose](): Promise<void> {
      await keeper[Symbol.asyncDispose]();
      await Deno.remove(path, { recursive: true });
    },
  };
}

/** Long enough for a change to be told, if it were. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 400));

Deno.test("PolicyKeeper: an error at the start is fatal", async () => {
  await assertRejects(() => PolicyKeeper.start(["/nowhere"], "allow"), PolicyError, "/nowhere: there is no such file");
});

Deno.test("PolicyKeeper swaps the set when its file is written, renamed over, or reached by another link", async () => {
  await using net = await kept(networkPolicy("{}", "a"));
  const { keeper, file, path, swaps } = net;
  await Deno.writeTextFile(file, networkPolicy("{}", "b"));
  await until("written", () => swaps.length === 1);
  await Deno.writeTextFile(`${path}/new`, networkPolicy("{}", "c"));
  await Deno.rename(`${path}/new`, file);
  await until("renamed over", () => swaps.length === 2);
  await Deno.writeTextFile(`${path}/other`, networkPolicy("{}", "d"));
  await Deno.remove(file);
  await Deno.symlink(`${path}/other`, file);
  await until("linked", () => keeper.set.policies[0]!.name === "d");
  await Deno.writeTextFile(`${path}/other`, networkPolicy("{}", "e"));
  await until("written where the link leads", () => keeper.set.policies[0]!.name === "e");
  assertEquals(new Set(swaps).size, swaps.length);
});

Deno.test("PolicyKeeper keeps the last good set while there is an error, and says where it is", async () => {
  await using net = await kept(networkPolicy("{}", "a"));
  const { keeper, file, swaps } = net;
  const { revision } = keeper.set;
  for (const broken of ["", "{", networkPolicy("{egres: []}")]) {
    await Deno.writeTextFile(file, broken);
    await until("the error", () => keeper.status().error?.startsWith(`${file}:1:`));
    assertEquals([keeper.set.revision, keeper.status().revision, swaps], [revision, revision, []]);
    await Deno.writeTextFile(file, networkPolicy("{}", "a"));
    await until("no error", () => keeper.status().error === undefined);
  }
  await Deno.remove(file);
  await until("the error", () => keeper.status().error?.includes("there is no such file"));
  await Deno.writeTextFile(file, networkPolicy("{}", "b"));
  await until("the new set", () => swaps.length === 1);
  assertNotEquals(keeper.set.revision, revision);
});

Deno.test("PolicyKeeper: a file that is cut and written again opens nothing meanwhile", async () => {
  await using net = await kept(networkPolicy("{}", "a"));
  const { file, swaps, keeper } = net;
  for (let n = 0; n < 20; n++) {
    using handle = await Deno.open(file, { write: true, truncate: true });
    await handle.write(new TextEncoder().encode(networkPolicy("{}", "a").slice(0, 20 + n)));
    await new Promise((resolve) => setTimeout(resolve, 5 * n));
    await handle.write(new TextEncoder().encode(networkPolicy("{}", "a").slice(20 + n)));
  }
  await settle();
  assertEquals([swaps, keeper.set.policies.length, keeper.status().error], [[], 1, undefined]);
});

Deno.test("PolicyKeeper takes no notice of other files", async () => {
  await using net = await kept(networkPolicy("{}", "a"));
  await net.keeper.reload("test");
  const { since } = net.keeper.status();
  await Deno.writeTextFile(`${net.path}/other.yaml`, networkPolicy("{}", "b"));
  await settle();
  assertEquals([net.swaps, net.keeper.status().since], [[], since]);
});

Deno.test("PolicyKeeper.reload() answers with what it came to, once for all who ask meanwhile", async () => {
  await using net = await kept(networkPolicy("{}", "a"));
  const { keeper, file } = net;
  assertEquals((await keeper.reload("test")).changed, false);
  await Deno.writeTextFile(file, "{");
  const answers = await Promise.all([1, 2, 3].map(() => keeper.reload("test")));
  for (const { error, changed } of answers) {
    assertEquals(changed, false);
    assertStringIncludes(error!, `${file}:1:2: `);
  }
  await Deno.writeTextFile(file, `# the same\n${networkPolicy("{}", "a")}`);
  const again = await keeper.reload("test");
  assertEquals([again.changed, again.error, keeper.status().error], [false, undefined, undefined]);
  assertEquals(keeper.set.policies[0]!.position.line, 2);
});

Deno.test("PolicyKeeper watches directories: files come, change and go, and the directory is swapped as a whole", async () => {
  const base = await Deno.makeTempDir({ prefix: "csvn-keeper-" });
  const make = async (name: string, policy: string): Promise<void> => {
    await Deno.mkdir(`${base}/${name}`);
    await Deno.writeTextFile(`${base}/${name}/p.yaml`, networkPolicy("{}", policy));
  };
  await make("one", "a");
  await make("two", "z");
  await Deno.symlink("one", `${base}/..data`);
  await Deno.symlink("..data", `${base}/current`);
  const keeper = await PolicyKeeper.start([`${base}/current`], "deny");
  try {
    keeper.watch(() => {});
    const names = (): string => keeper.set.policies.map(({ name }) => name).join();
    await Deno.writeTextFile(`${base}/one/q.yaml`, networkPolicy("{}", "b"));
    await until("a file came", () => names() === "a,b");
    await Deno.remove(`${base}/one/q.yaml`);
    await until("a file went", () => names() === "a");
    await Deno.symlink("two", `${base}/..new`);
    await Deno.rename(`${base}/..new`, `${base}/..data`);
    await until("the link was swapped", () => names() === "z");
    await Deno.writeTextFile(`${base}/two/p.yaml`, networkPolicy("{}", "y"));
    await until("a file of the new directory changed", () => names() === "y");
    await Deno.remove(`${base}/two/p.yaml`);
    await until("an error", () => keeper.status().error?.includes("the directory has no"));
    assertEquals([names(), keeper.set.defaultAction], ["y", "deny"]);
  } finally {
    await keeper[Symbol.asyncDispose]();
    await Deno.remove(base, { recursive: true });
  }
});
