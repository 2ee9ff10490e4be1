import { assertEquals, assertRejects } from "@std/assert";
import { fetching, isPassing } from "../../tools/testbed/retry.ts";

Deno.test("isPassing() tells a mirror that is away from what waiting does not help", () => {
  for (
    const line of [
      "E: Failed to fetch http://mirror.test/pool/x.deb  Could not connect to mirror.test:80",
      "Err:1 http://mirror.test trixie InRelease\n  Temporary failure resolving 'mirror.test'",
      "  503  Service Unavailable [IP: 192.0.2.1 80]",
      "E: Failed to fetch x  Hash Sum mismatch",
      "npm error code EAI_AGAIN",
    ]
  ) assertEquals(isPassing(line), true, line);
  for (
    const line of [
      "E: Unable to locate package bogus",
      "E: Failed to fetch x  Could not connect\nE: Unable to locate package bogus",
      "dpkg: error: No space left on device\nE: Failed to fetch",
      "error: 5030 warnings",
    ]
  ) assertEquals(isPassing(line), false, line);
});

Deno.test("fetching() tries again while the mirror is away, says so, and gives up after its last try", async () => {
  const log = await Deno.makeTempFile();
  try {
    const said: string[] = [];
    const waited: number[] = [];
    let tries = 0, cleaned = 0;
    const attempt = (good: number, text: string): Promise<string> => {
      tries = cleaned = 0;
      said.length = waited.length = 0;
      return fetching(
        "fetching x",
        log,
        async () => {
          await Deno.writeTextFile(log, text);
          if (++tries < good) throw new Error(`try ${tries}`);
          return "done";
        },
        () => Promise.resolve(void cleaned++),
        {
          progress: (line) => void said.push(String(line)),
          waits: [10_000, 20_000],
          pause: (ms) => Promise.resolve(void waited.push(ms)),
        },
      );
    };
    assertEquals([await attempt(3, "Could not resolve 'mirror.test'"), tries, cleaned], ["done", 3, 2]);
    assertEquals(waited, [10_000, 20_000]);
    assertEquals(
      said[0],
      `fetching x: the mirror does not answer as it should; once more in 10 s (log: ${log})`,
    );
    await assertRejects(() => attempt(4, "Could not resolve 'mirror.test'"), Error, "try 3");
    await assertRejects(() => attempt(2, "E: Unable to locate package x"), Error, "try 1");
    assertEquals([tries, waited], [1, []]);
  } finally {
    await Deno.remove(log);
  }
});
