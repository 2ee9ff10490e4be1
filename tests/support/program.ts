/**
 * The program itself, as a user runs it.
 *
 * @module
 */

import { permissions, project } from "./permissions.ts";
import { until } from "./until.ts";

/** How a run of the program ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line of the program; `powerless`: by root without root's powers over others' files. */
function command(args: readonly string[], powerless = false): Deno.Command {
  const deno = [Deno.execPath(), "run", ...permissions(), "--no-check", `${project}mod.ts`, ...args];
  const whole = powerless ? ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", ...deno] : deno;
  return new Deno.Command(whole[0]!, {
    args: whole.slice(1),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
    cwd: project,
  });
}

/** Run it to its end. */
export async function run(args: readonly string[], powerless = false): Promise<Ended> {
  const { code, stdout, stderr } = await command(args, powerless).output();
  const text = new TextDecoder();
  return { code, stdout: text.decode(stdout), stderr: text.decode(stderr) };
}

/** A run that goes on. */
export class Running implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #ended: Promise<Ended>;
  #over = false;
  stderr = "";
  stdout = "";

  constructor(args: readonly string[]) {
    this.#child = command(args).spawn();
    const reading = [
      this.#read(this.#child.stdout, (text) => this.stdout += text),
      this.#read(this.#child.stderr, (text) => this.stderr += text),
    ];
    this.#ended = Promise.all([this.#child.status, ...reading]).then(([{ code }]) => {
      this.#over = true;
      return { code, stdout: this.stdout, stderr: this.stderr };
    });
  }

  /** Wait until its log says something. */
  async says(text: string): Promise<void> {
    await until(`the program says "${text}"; it says:\n${this.stderr}`, () => {
      if (this.#over) throw new Error(`the program has ended:\n${this.stderr}`);
      return this.stderr.includes(text);
    }, 20_000);
  }

  /** Its process. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Send a signal. */
  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Send a signal and wait for its end. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<Ended> {
    if (!this.#over) this.#child.kill(signal);
    return await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL");
  }

  async #read(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) take(text);
  }
}
