import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { delay } from "@std/async";
import { type Artifact, cached, cacheKey, exists, withLock } from "../../tools/testbed/cache.ts";
import { noProgress } from "../../tools/testbed/progress.ts";

/** Run with a cache of one's own. */
async function inCache(work: (root: string) => Promise<void>): Promise<void> {
  const before = Deno.env.get("CSVN_CACHE");
  const root = await Deno.makeTempDir();
  Deno.env.set("CSVN_CACHE", root);
  try {
    await work(root);
  } finally {
    if (before === undefined) Deno.env.delete("CSVN_CACHE");
    else Deno.env.set("CSVN_CACHE", before);
    await Deno.remove(root, { recursive: true });
  }
}

function artifact(
  inputs: unknown,
  build: Artifact["build"],
  keep?: number,
): Artifact {
  const base = { name: "thing", inputs, what: "making a thing", build };
  return keep === undefined ? base : { ...base, keep };
}

Deno.test("cacheKey() depends on every input, and not on the order of keys", async () => {
  const key = await cacheKey({ a: 1, b: { c: [1, 2], d: "x" } });
  assertEquals(key.length, 16);
  assertEquals(await cacheKey({ b: { d: "x", c: [1, 2] }, a: 1 }), key);
  assertNotEquals(await cacheKey({ a: 1, b: { c: [2, 1], d: "x" } }), key);
  assertNotEquals(await cacheKey({ a: 1, b: { c: [1, 2], d: "y" } }), key);
});

Deno.test("cached() builds once, for any number that ask", async () => {
  await inCache(async () => {
    let builds = 0;
    const thing = artifact(1, async ({ dir }) => {
      builds++;
      await delay(20);
      await Deno.writeTextFile(join(dir, "file"), "content");
    });
    const paths = await Promise.all([
      cached(thing, noProgress),
      cached(thing, noProgress),
    ]);
    paths.push(await cached(thing, noProgress));
    assertEquals(builds, 1);
    assertEquals(new Set(paths).size, 1);
    assertEquals(await Deno.readTextFile(join(paths[0]!, "file")), "content");
  });
});

Deno.test("cached() leaves nothing behind when a build fails, and tries again", async () => {
  await inCache(async (root) => {
    const broken = artifact(1, async ({ dir }) => {
      await Deno.writeTextFile(join(dir, "half"), "");
      throw new Error("out of luck");
    });
    await assertRejects(() => cached(broken, noProgress), Error, "out of luck");
    assertEquals([...Deno.readDirSync(join(root, "tmp"))], []);
    const path = await cached(artifact(1, async () => {}), noProgress);
    assertEquals([...Deno.readDirSync(path)], []);
  });
});

Deno.test("cached() starts from an empty directory after an interruption", async () => {
  await inCache(async (root) => {
    const key = await cacheKey(1);
    const left = join(root, "tmp", `thing-${key}.abc`);
    await Deno.mkdir(left, { recursive: true });
    await Deno.writeTextFile(join(left, "half"), "");
    const path = await cached(artifact(1, async () => {}), noProgress);
    assertEquals([...Deno.readDirSync(path)], []);
    assertEquals([...Deno.readDirSync(join(root, "tmp"))], []);
  });
});

Deno.test("cached() keeps the newest artifacts of a name", async () => {
  await inCache(async () => {
    const paths: string[] = [];
    for (let n = 0; n < 4; n++) {
      paths.push(await cached(artifact(n, async () => {}, 2), noProgress));
      await delay(10);
    }
    const there = await Promise.all(paths.map(exists));
    assertEquals(there, [false, false, true, true]);
  });
});

Deno.test("withLock() waits for the holder and says whom it waits for", async () => {
  await inCache(async () => {
    const order: string[] = [];
    const lines: string[] = [];
    const first = withLock("it", noProgress, async () => {
      await delay(300);
      order.push("first");
    });
    await delay(50);
    const second = withLock("it", (line) => lines.push(line), () => {
      order.push("second");
      return Promise.resolve();
    });
    await Promise.all([first, second]);
    assertEquals(order, ["first", "second"]);
    assert(lines[0]?.includes(`process ${Deno.pid}`), lines[0]);
  });
});
