/** Receives one line (no newline) per thing worth telling. */
export type Progress = (line: string) => void;

const encoder = new TextEncoder();

/** Progress that writes to standard error, `testbed:` in front of each line. */
export function stderrProgress(line: string): void {
  Deno.stderr.writeSync(encoder.encode(`testbed: ${line}\n`));
}

/** Progress that tells nobody. */
export function noProgress(_line: string): void {}

/**
 * Run one step, with a line when it starts and a line with the elapsed time
 * when it is done. A step that throws reports nothing: its error speaks.
 */
export async function step<T>(
  progress: Progress,
  what: string,
  work: () => Promise<T>,
  log?: string,
): Promise<T> {
  const start = performance.now();
  progress(`${what} ...${log === undefined ? "" : ` (log: ${log})`}`);
  const result = await work();
  const seconds = (performance.now() - start) / 1000;
  progress(`${what}: done in ${seconds.toFixed(1)} s`);
  return result;
}
