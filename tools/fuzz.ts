/**
 * `deno task fuzz [--seconds N] [TARGET…]`: build the fuzz targets of the C parts (lib/fuzz) and run each for N seconds. What a run has found out is kept in
 * lib/build/fuzz, and the next begins with it; so is the input of a find.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program's own output

import { parseArgs } from "@std/cli";
import { fromFileUrl, join } from "@std/path";
import { capture } from "./testbed/process.ts";

const lib = fromFileUrl(new URL("../lib", import.meta.url));
const VERSIONS = 30;

/** Whether a compiler is there, and has libFuzzer and its sanitizers. */
async function fuzzes(compiler: string): Promise<boolean> {
  const dir = await Deno.makeTempDir();
  try {
    const source = join(dir, "target.c");
    await Deno.writeTextFile(
      source,
      "int LLVMFuzzerTestOneInput(const char *bytes, unsigned long count) { return 0; }\n",
    );
    const flags = ["-fsanitize=fuzzer,address,undefined", "-w", "-o", join(dir, "target")];
    return (await capture([compiler, ...flags, source])).code === 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function findCompiler(): Promise<string | undefined> {
  const names = ["clang", ...Array.from({ length: VERSIONS }, (_, i) => `clang-${VERSIONS - i}`)];
  for (const name of names) if (await fuzzes(name)) return name;
}

/** The targets' names, as `deno task fuzz` takes them. */
export function targets(): string[] {
  return [...Deno.readDirSync(join(lib, "fuzz"))]
    .flatMap(({ name }) => name.match(/^(\w+)_fuzz\.c$/)?.[1] ?? []).sort();
}

async function main(): Promise<number> {
  const options = parseArgs(Deno.args, { string: ["seconds"], default: { seconds: "60" } });
  const known = targets();
  const wanted = options._.length > 0 ? options._.map(String) : known;
  const unknown = wanted.filter((name) => !known.includes(name));
  if (unknown.length > 0 || !/^[1-9]\d*$/.test(options.seconds)) {
    console.error(`usage: deno task fuzz [--seconds N] [TARGET…]; targets: ${known.join(", ")}`);
    return 2;
  }
  const compiler = await findCompiler();
  if (compiler === undefined) {
    console.error(
      "the fuzz targets take clang with its libFuzzer and sanitizers, which this machine lacks. On Debian and Ubuntu:\n" +
        "    apt-get install clang libclang-rt-dev",
    );
    return 1;
  }
  const fuzzers = wanted.map((name) => `build/fuzz/${name}_fuzz`).join(" ");
  const { code } = await new Deno.Command("make", {
    args: ["-s", "-C", lib, "fuzz", `FUZZ_CC=${compiler}`, `FUZZ_SECONDS=${options.seconds}`, `FUZZERS=${fuzzers}`],
  }).spawn().status;
  return code;
}

if (import.meta.main) Deno.exit(await main());
