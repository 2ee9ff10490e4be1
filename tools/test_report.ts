/**
 * What `deno test --junit-path` writes.
 *
 * @module
 */

/** Characters of a failure that are said again at the end. */
export const EXCERPT = 2000;

/** A report's content. */
export interface TestReport {
  /** Tests and their steps. */
  total: number;
  failed: number;
  /** Those that need root, say: what did not run has not passed. */
  skipped: number;
  /** Of each failed one its file, its name, and the beginning of what it said. */
  failures: string[];
}

const ENTITIES: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
const CASE = /<testcase name="([^"]*)" classname="([^"]*)"[^>]*>\s*<(?:failure|error)\b[^>]*>([^<]*)/g;

function plain(text = ""): string {
  return text.replace(/&(?:(\w+)|#(\d+));/g, (whole, name, code) => {
    return code ? String.fromCodePoint(Number(code)) : ENTITIES[name] ?? whole;
  });
}

/** Read a JUnit report, as Deno writes it. */
export function readReport(xml: string): TestReport {
  const count = (attribute: string): number =>
    Number(new RegExp(`<testsuites [^>]*\\b${attribute}="(\\d+)"`).exec(xml)?.[1] ?? 0);
  return {
    total: count("tests"),
    failed: count("failures") + count("errors"),
    skipped: xml.match(/<skipped\b/g)?.length ?? 0,
    failures: [...xml.matchAll(CASE)].map(([_, test, file, text]) => {
      return `${plain(file)}: ${plain(test)}\n${plain(text).slice(0, EXCERPT)}`;
    }),
  };
}
