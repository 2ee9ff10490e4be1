import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { ABI_VERSION } from "../../../src/ffi/abi.ts";
import { LibraryError, libraryPath, openLibrary } from "../../../src/ffi/library.ts";

const root = fromFileUrl(new URL("../../..", import.meta.url));

/** A tree with the sources of library and loader, but nothing built; and a PATH with nothing but these programs. */
class Tree implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async make(programs: Record<string, string>): Promise<Tree> {
    const tree = new Tree(await Deno.makeTempDir({ prefix: "csvn-library-" }));
    for (
      const dir of ["lib/src", "lib/brain", "lib/janitor", "lib/port", "lib/include/csvn", "src/ffi", "std/path", "bin"]
    ) {
      await Deno.mkdir(join(tree.path, dir), { recursive: true });
    }
    for (const dir of ["lib/src", "lib/brain", "lib/janitor", "lib/port", "lib/include/csvn", "src/ffi", "std/path"]) {
      for await (const { name, isFile } of Deno.readDir(join(root, dir))) {
        if (isFile) await Deno.copyFile(join(root, dir, name), join(tree.path, dir, name));
      }
    }
    for (const file of ["deno.json", "lib/Makefile"]) await Deno.copyFile(join(root, file), join(tree.path, file));
    const config = JSON.parse(await Deno.readTextFile(join(tree.path, "deno.json")));
    const text = JSON.stringify({ imports: config.imports, links: ["./std/path"], lock: false });
    await Deno.writeTextFile(join(tree.path, "deno.json"), text);
    await Deno.writeTextFile(
      join(tree.path, "open.ts"),
      `import { LibraryError, openLibrary } from "./src/ffi/library.ts";
try { openLibrary().close(); console.log("opened"); }
catch (error) { if (!(error instanceof LibraryError)) throw error; console.log(error.message); }`,
    );
    for (const [name, script] of Object.entries(programs)) {
      await Deno.writeTextFile(join(tree.path, "bin", name), script, { mode: 0o755 });
    }
    return tree;
  }

  /** What opening the library says. */
  async open(env: Record<string, string> = {}, permissions = ["-A"]): Promise<string> {
    const { CSVN_LIBRARY: _, ...inherited } = Deno.env.toObject();
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", ...permissions, "--no-check", "--no-lock", "open.ts"],
      cwd: this.path,
      clearEnv: true,
      // Where Deno keeps its modules, and whom it trusts, may be said in the environment.
      env: { ...inherited, PATH: join(this.path, "bin"), ...env },
    }).output();
    const text = new TextDecoder();
    assertEquals(text.decode(stderr).split("\n").filter((line) => /error|\bat /.test(line)), []);
    return text.decode(stdout).trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

function which(name: string): string {
  for (const dir of (Deno.env.get("PATH") ?? "").split(":")) {
    try {
      if (Deno.statSync(join(dir, name)).isFile) return join(dir, name);
    } catch {
      // Not in this directory.
    }
  }
  throw new Error(`no ${name} on the PATH`);
}

const pass = (name: string): string => `#!/bin/sh\nexec ${which(name)} "$@"\n`;

Deno.test("openLibrary() without make says what to install", async () => {
  await using tree = await Tree.make({});
  const said = await tree.open();
  assertStringIncludes(
    said,
    "the helper library is not built, and there is no make to build it with: install a C compiler",
  );
  assertEquals(said.split("\n").length, 1);
});

Deno.test("openLibrary() without a compiler says what to install", async () => {
  await using tree = await Tree.make({ make: pass("make"), mkdir: pass("mkdir"), mv: pass("mv") });
  const said = await tree.open();
  assertStringIncludes(said, "there is no C compiler to build it with: install a C compiler and make");
  assertEquals(said.split("\n").length, 1);
});

Deno.test("openLibrary() builds nothing, and looks at no environment, without permission", async () => {
  await using tree = await Tree.make({});
  const permissions = ["--allow-read", "--allow-ffi=lib/build", "--no-prompt"];
  const said = await tree.open({ CSVN_LIBRARY: "/nowhere/libcsvn.so" }, permissions);
  assertEquals(said, "the helper library is not built: run `deno task build`");
});

Deno.test("openLibrary() shows what the compiler said when building fails", async () => {
  await using tree = await Tree.make({
    make: pass("make"),
    mkdir: pass("mkdir"),
    cc: "#!/bin/sh\necho 'plane.c:1: error: because of the test' >&2\nexit 1\n",
  });
  const said = await tree.open();
  assertStringIncludes(said, "building the helper library failed:\n");
  assertStringIncludes(said, "plane.c:1: error: because of the test");
});

Deno.test("openLibrary() builds what is missing, with an ABI version that must fit", async () => {
  await using tree = await Tree.make({});
  const header = join(tree.path, "lib/include/csvn/abi.h");
  const text = await Deno.readTextFile(header);
  const [ours, another] = [`CSVN_ABI_VERSION ${ABI_VERSION}u`, `CSVN_ABI_VERSION ${ABI_VERSION + 1}u`];
  assert(text.includes(`#define ${ours}`));
  await Deno.writeTextFile(header, text.replace(ours, another));
  const said = await tree.open({ PATH: Deno.env.get("PATH")!, CFLAGS: "-O0" });
  assertStringIncludes(
    said,
    `has ABI version ${ABI_VERSION + 1}, but ${ABI_VERSION} is needed: run \`deno task build\``,
  );
});

Deno.test("openLibrary() opens what it is given, or says why it cannot", async () => {
  openLibrary().close();
  const file = await Deno.makeTempFile();
  try {
    for (const path of ["/nowhere/libcsvn.so", file]) {
      assertThrows(() => openLibrary(path), LibraryError, `cannot open the helper library ${path}: `);
    }
  } finally {
    await Deno.remove(file);
  }
  const library = openLibrary(libraryPath);
  assertEquals(library.symbols.csvn_abi_version(), ABI_VERSION);
  library.close();
});
