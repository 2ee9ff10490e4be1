import { assertEquals, assertRejects } from "@std/assert";
import { PolicyError, PolicyFiles } from "../../../src/policy/files.ts";
import { networkPolicy } from "../../support/policies.ts";

interface Directory extends AsyncDisposable {
  readonly path: string;
  write(name: string, text: string | Uint8Array): Promise<string>;
}

async function directory(): Promise<Directory> {
  const path = await Deno.makeTempDir({ prefix: "csvn-policy-" });
  return {
    path,
    async write(name, text): Promise<string> {
      await Deno.writeFile(`${path}/${name}`, typeof text === "string" ? new TextEncoder().encode(text) : text);
      return `${path}/${name}`;
    },
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

async function errors(...paths: string[]): Promise<string[]> {
  return (await assertRejects(() => new PolicyFiles(paths).read(), PolicyError)).message.split("\n");
}

Deno.test("PolicyFiles reads files and directories, in the order of their names", async () => {
  await using dir = await directory();
  await dir.write("b.yml", networkPolicy("{}", "b"));
  await dir.write("a.yaml", `${networkPolicy("{}", "a")}---\n${networkPolicy("{}", "c")}`);
  await dir.write(
    "d.json",
    JSON.stringify({ apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { name: "d" }, spec: {} }),
  );
  for (const name of ["README.md", ".hidden.yaml", "x.yaml~", "y.yaml.swp"]) await dir.write(name, "not: a policy");
  await Deno.mkdir(`${dir.path}/sub.yaml`);
  const names = async (...paths: string[]): Promise<string[]> =>
    (await new PolicyFiles(paths).read()).map(({ name }) => name);
  assertEquals(await names(dir.path), ["a", "c", "b", "d"]);
  assertEquals(await names(`${dir.path}/b.yml`), ["b"]);
  assertEquals(await names(dir.path, `${dir.path}/b.yml`), ["a", "c", "b", "d"]);
  assertEquals(await names(), []);
});

Deno.test("PolicyFiles tells all errors of all files", async () => {
  await using dir = await directory();
  await dir.write("a.yaml", networkPolicy("{egres: []}"));
  await dir.write("b.yaml", `${networkPolicy("{}", "twice")}---\n${networkPolicy("{}", "once")}`);
  await dir.write("c.yaml", networkPolicy("{}", "twice"));
  await dir.write("d.yaml", "# nothing\n");
  await dir.write("e.yaml", new Uint8Array([0xff, 0xfe, 0x20]));
  await dir.write("f.yaml", "#".repeat((1 << 20) + 1));
  await dir.write("g.yaml", "");
  const found = await errors(dir.path, `${dir.path}/none.yaml`, "/dev/zero");
  assertEquals(found.map((line) => line.replaceAll(`${dir.path}/`, "")), [
    "none.yaml: there is no such file or directory",
    `a.yaml:1:${
      networkPolicy("{egres: []}").indexOf("egres") + 1
    }: spec.egres: unknown field; known are podSelector, policyTypes, ingress, egress`,
    "d.yaml:1:1: holds no policy; to take its policies away, remove the file",
    "e.yaml: is not UTF-8",
    "f.yaml: is longer than 1048576 bytes",
    "g.yaml:1:1: holds no policy; to take its policies away, remove the file",
    "/dev/zero: is not a file",
    "c.yaml:1:1: metadata.name: NetworkPolicy default/twice is at b.yaml:1 already",
  ]);
});

Deno.test("PolicyFiles: a directory without policies is an error, not the absence of policy", async () => {
  await using dir = await directory();
  assertEquals(await errors(dir.path), [`${dir.path}: the directory has no .yaml, .yml or .json file`]);
});

Deno.test("PolicyFiles reads changed files again, and others not", async () => {
  await using dir = await directory();
  await dir.write("a.yaml", networkPolicy("{}", "a"));
  await dir.write("b.yaml", networkPolicy("{}", "b"));
  const files = new PolicyFiles([dir.path]);
  const [first] = [await files.read()];
  await dir.write("b.yaml", networkPolicy("{}", "c"));
  const second = await files.read();
  assertEquals(second.map(({ name }) => name), ["a", "c"]);
  assertEquals([second[0] === first[0], second[1] === first[1]], [true, false]);
  await Deno.remove(`${dir.path}/a.yaml`);
  assertEquals((await files.read()).map(({ name }) => name), ["c"]);
});

Deno.test("PolicyFiles does not wait for a pipe", async () => {
  await using dir = await directory();
  await new Deno.Command("mkfifo", { args: [`${dir.path}/a.yaml`] }).output();
  assertEquals(await errors(dir.path), [`${dir.path}/a.yaml: is not a file`]);
});
