/** Building static Go programs that run in a guest. */
import { basename, join } from "@std/path";
import { cached } from "./cache.ts";
import { ensureHostTools } from "./host.ts";
import { runLogged } from "./process.ts";
import type { Progress } from "./progress.ts";

const RECIPE = 1;

/** Build a Go file into one static program, without the C library; the program's path. */
export async function buildGoProgram(source: string, progress: Progress): Promise<string> {
  const name = basename(source, ".go");
  const dir = await cached({
    name: `program-go-${name}`,
    inputs: { recipe: RECIPE, source: await Deno.readTextFile(source) },
    what: `building ${name} with Go`,
    keep: 4,
    build: async ({ dir, log }) => {
      await ensureHostTools(["go"], progress);
      const scratch = await Deno.makeTempDir({ prefix: "csvn-go-" });
      try {
        await runLogged(`building ${name}`, ["go", "build", "-o", join(dir, name), source], {
          log,
          env: { CGO_ENABLED: "0", GO111MODULE: "off", GOCACHE: scratch, GOPATH: scratch, GOTOOLCHAIN: "local" },
        });
      } finally {
        await Deno.remove(scratch, { recursive: true });
      }
    },
  }, progress);
  return join(dir, name);
}
