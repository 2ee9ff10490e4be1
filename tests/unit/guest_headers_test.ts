/**
 * The headers that programs in guests include: by themselves, in C and C++, without a warning.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { dirname, fromFileUrl, join } from "@std/path";

const project = dirname(dirname(dirname(fromFileUrl(import.meta.url))));
const STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"];

/** Each function once, so that the compiler looks into all of them. */
const PROGRAM = `
#include <csvn.h>
int main(int argc, char **argv)
{
	struct csvn c;
	const void *bytes;
	void *room;
	int fd = argc + (argv ? 0 : 1);
	if (csvn_map(&c, fd) < 0 || csvn_reserve(&c, 1, &room) < 0 || csvn_commit(&c, 0) < 0)
		return 1;
	if (csvn_peek(&c, 1, &bytes) < 0 || csvn_consume(&c, 0) < 0 || csvn_wait(&c, CSVN_READABLE, 0) < 0)
		return 1;
	return csvn_shutdown(&c) || csvn_unmap(&c) || csvn_close(&c);
}
`;

async function compile(compiler: string, args: string[], source: string): Promise<void> {
  const child = new Deno.Command(compiler, {
    args: [...STRICT, ...args, `-I${join(project, "lib/include")}`, `-I${join(project, "guest/include")}`]
      .concat(["-O2", "-S", "-o", "/dev/null", "-"]),
    stdin: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(source));
  await writer.close();
  const { stderr } = await child.output();
  assertEquals(new TextDecoder().decode(stderr), "");
}

for (const standard of ["gnu11", "c11 -D_DEFAULT_SOURCE", "gnu17"]) {
  Deno.test(`csvn.h compiles as C: ${standard}`, () =>
    compile("gcc", ["-xc", ...`-std=${standard}`.split(" ")], PROGRAM));
}

for (const standard of ["c++11", "c++17", "c++20"]) {
  Deno.test(`csvn.h compiles as C++: ${standard}`, () => compile("g++", ["-xc++", `-std=${standard}`], PROGRAM));
}

Deno.test("csvn/mapping.h compiles by itself", async () => {
  await compile("gcc", ["-xc", "-std=gnu11"], "#include <csvn/mapping.h>\nint main(void) { return !CSVN_IOC_MAP; }\n");
});
