/**
 * No promise is left to itself: one that is rejected without anybody listening is a bug that nobody sees, or ends the program.
 *
 * A statement that is a promise must be awaited, or end in `.catch(…)` or in a `.then(…, …)` that handles both. The types come from the TypeScript
 * compiler; packages, and Deno's own functions, it does not know here.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl, relative } from "@std/path";
import ts from "typescript";

const root = fromFileUrl(new URL("../..", import.meta.url));

function sources(dir: string): string[] {
  return [...Deno.readDirSync(dir)].flatMap(({ name, isDirectory }) => {
    const path = `${dir}/${name}`;
    return isDirectory ? sources(path) : name.endsWith(".ts") && !name.endsWith(".d.ts") ? [path] : [];
  });
}

function programOf(files: readonly string[], texts: ReadonlyMap<string, string> = new Map()): ts.Program {
  const options: ts.CompilerOptions = {
    allowImportingTsExtensions: true,
    lib: ["lib.esnext.d.ts", "lib.dom.d.ts"],
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    noEmit: true,
    resolveJsonModule: true,
    strict: true,
    target: ts.ScriptTarget.ESNext,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const read = host.readFile.bind(host);
  host.readFile = (file) => texts.get(file) ?? read(file);
  const exists = host.fileExists.bind(host);
  host.fileExists = (file) => texts.has(file) || exists(file);
  const source = host.getSourceFile.bind(host);
  host.getSourceFile = (file, version) =>
    texts.has(file) ? ts.createSourceFile(file, texts.get(file)!, version) : source(file, version);
  return ts.createProgram([...files], options, host);
}

/** Is it handled: `.catch(…)`, or `.then(…, …)`, at its end? */
function isHandled(expression: ts.Expression): boolean {
  if (!ts.isCallExpression(expression) || !ts.isPropertyAccessExpression(expression.expression)) return false;
  const name = expression.expression.name.text;
  if (name === "finally") return isHandled(expression.expression.expression);
  return (name === "catch" && expression.arguments.length > 0) || (name === "then" && expression.arguments.length > 1);
}

/** Statements that are promises which nobody handles, as `file:line`. */
function floating(program: ts.Program): string[] {
  const checker = program.getTypeChecker();
  const found: string[] = [];
  for (const file of program.getSourceFiles()) {
    if (!file.fileName.startsWith(root) || file.fileName.includes("/node_modules/")) continue;
    const visit = (node: ts.Node): void => {
      ts.forEachChild(node, visit);
      if (!ts.isExpressionStatement(node)) return;
      let { expression } = node;
      if (ts.isVoidExpression(expression)) expression = expression.expression;
      // What is assigned is somebody's; what is awaited is no promise any more.
      if (ts.isBinaryExpression(expression) && expression.operatorToken.kind >= ts.SyntaxKind.FirstAssignment) return;
      const type = checker.getTypeAtLocation(expression);
      const isPromise = (type.isUnion() ? type.types : [type]).some((part) => part.getProperty("then"));
      if (!isPromise || isHandled(expression)) return;
      const { line } = file.getLineAndCharacterOfPosition(node.getStart());
      found.push(`${relative(root, file.fileName)}:${line + 1}`);
    };
    visit(file);
  }
  return found;
}

Deno.test("no promise of the sources is left to itself", () => {
  const files = [...sources(`${root}src`), `${root}mod.ts`];
  assert(files.length > 80);
  assertEquals(floating(programOf(files)), []);
});

Deno.test("the search finds promises that are left to themselves, and no others", () => {
  const file = `${root}floating_example.ts`;
  const text = `
    async function work(): Promise<void> {}
    declare const maybe: { work(): Promise<void> } | undefined;
    work();                                  // 4
    void work();                             // 5
    maybe?.work();                           // 6
    work().then(() => {});                   // 7
    work().finally(() => {});                // 8
    await work();
    work().catch(() => {});
    work().then(() => {}, () => {});
    work().catch(() => {}).finally(() => {});
    const kept = work();
    (() => 1)();
    export default kept;`;
  const program = programOf([file], new Map([[file, text]]));
  assertEquals(floating(program), [4, 5, 6, 7, 8].map((line) => `floating_example.ts:${line}`));
});
