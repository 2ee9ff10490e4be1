/**
 * YAML documents within bounds: a text that is too long, too deep or too full of small things is an error before it costs time
 * or memory. Every error has its position.
 *
 * The package `yaml` does the reading. What it leaves to its user: its composer goes down by recursion, and it compares each key of a
 * mapping with each other. So the depth is looked at while the text is parsed, before anything is composed, and duplicate keys are
 * found here.
 *
 * @module
 */

import { Composer, type Document, isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, type Node, Parser } from "yaml";

/** Bounds of a text. */
export interface YamlLimits {
  /** UTF-16 code units of a text. */
  readonly length: number;
  /** Mappings and sequences within each other. */
  readonly depth: number;
  /** What the lexer finds: names, values, marks, breaks, runs of spaces. */
  readonly lexemes: number;
  /** Documents of one text. */
  readonly documents: number;
}

/** The bounds that hold where nothing else is said. */
export const DEFAULT_YAML_LIMITS: YamlLimits = { length: 1 << 20, depth: 100, lexemes: 500_000, documents: 10_000 };

/** A place in a text; the first character is at line 1, column 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Something that is wrong with a text, and where. */
export interface Problem extends Position {
  readonly message: string;
}

/** What a text holds. With problems, there are no documents. */
export interface YamlText {
  readonly documents: readonly Document.Parsed[];
  readonly problems: readonly Problem[];
  /** Where an offset is. */
  position(offset: number): Position;
}

/** How many of a text's errors are told. */
const PROBLEMS_MAX = 100;

/**
 * Read a text.
 *
 * @example
 * ```ts
 * import { readYaml } from "./documents.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(readYaml("a: 1\na: 2\n").problems, [{ line: 2, column: 1, message: 'the key "a" is there already' }]);
 * ```
 */
export function readYaml(text: string, limits: YamlLimits = DEFAULT_YAML_LIMITS): YamlText {
  const lines = new LineCounter();
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const failed = (offset: number, message: string): YamlText => ({
    documents: [],
    problems: [{ ...position(offset), message }],
    position,
  });
  if (text.length > limits.length) return failed(0, `longer than ${limits.length} characters`);
  lines.addNewLine(0);
  const parser = new Parser(lines.addNewLine);
  const composer = new Composer({ schema: "core", strict: true, uniqueKeys: false, lineCounter: lines });
  const documents: Document.Parsed[] = [];
  try {
    let count = 0;
    for (const lexeme of new Lexer().lex(text)) {
      if (++count > limits.lexemes) return failed(parser.offset, `more than ${limits.lexemes} names, values and marks`);
      for (const token of parser.next(lexeme)) documents.push(...composer.next(token) as Iterable<Document.Parsed>);
      if (parser.stack.length > limits.depth) {
        return failed(parser.offset, `nested more than ${limits.depth} levels deep`);
      }
      if (documents.length > limits.documents) {
        return failed(parser.offset, `more than ${limits.documents} documents`);
      }
    }
    for (const token of parser.end()) documents.push(...composer.next(token) as Iterable<Document.Parsed>);
    documents.push(...composer.end(false, text.length) as Iterable<Document.Parsed>);
  } catch (error) {
    // The package promises not to throw; a promise about hostile input is not to be relied on.
    return failed(parser.offset, `cannot be read as YAML: ${(error as Error).message.split("\n")[0]}`);
  }
  const problems = documents.flatMap((document) => [...syntaxProblems(document), ...duplicateKeys(document)])
    .slice(0, PROBLEMS_MAX)
    .map(({ offset, message }) => ({ ...position(offset), message }));
  return { documents: problems.length > 0 ? [] : documents, problems, position };
}

function* syntaxProblems(document: Document.Parsed): Iterable<{ offset: number; message: string }> {
  for (const error of [...document.errors, ...document.warnings]) {
    // The library's message goes on with an excerpt; its first line is what happened.
    yield { offset: error.pos[0], message: error.message.split(/ at line \d+|\n/)[0]! };
  }
}

function* duplicateKeys(document: Document.Parsed): Iterable<{ offset: number; message: string }> {
  const waiting: unknown[] = [document.contents];
  while (waiting.length > 0) {
    const node = waiting.pop();
    if (isSeq(node)) waiting.push(...node.items);
    if (!isMap(node)) continue;
    const seen = new Set<string>();
    for (const { key, value } of node.items) {
      waiting.push(key, value);
      const offset = (key as Node | null)?.range?.[0] ?? 0;
      if (!isScalar(key) || isAlias(key)) {
        yield { offset, message: "a key is expected to be a single value" };
        continue;
      }
      const name = String(key.value);
      if (seen.has(name)) yield { offset, message: `the key "${name}" is there already` };
      seen.add(name);
    }
  }
}
