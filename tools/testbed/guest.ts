/**
 * A QEMU guest that runs commands for its owner.
 *
 * ```ts no-run
 * await using guest = await Guest.boot({ socket: "/tmp/switch.sock" });
 * const { stdout } = await guest.run("uname -r");
 * ```
 *
 * Every wait here is bounded; a guest whose QEMU ends rejects what waits for it
 * with a {@link GuestError} that names the guest and shows its log's end.
 */
import { deadline, delay } from "@std/async";
import { join, resolve } from "@std/path";
import { AgentClient } from "./agent_client.ts";
import type { GuestCommand } from "./command.ts";
import { makeCopyImage } from "./copy.ts";
import { messageOf, TestbedError } from "./errors.ts";
import { GuestError, type GuestOptions, type RunOptions, type SpawnOptions } from "./guest_options.ts";
import { checkSocket, defaultLog, feed } from "./guest_support.ts";
import { ensureTestbed, type Testbed } from "./prepare.ts";
import { type Output, tailOf } from "./process.ts";
import { noProgress } from "./progress.ts";
import { encodeParameter, qemuArguments } from "./qemu_args.ts";
import { Qmp, type QmpEvent } from "./qmp.ts";
import { RunDir } from "./rundir.ts";
import { collect } from "./streams.ts";

export type { CommandStatus, GuestCommand } from "./command.ts";
export type { Output } from "./process.ts";
export { GuestError } from "./guest_options.ts";
export type { GuestOptions, RunOptions, SpawnOptions } from "./guest_options.ts";

const BOOT_TIMEOUT_MS = 240_000;
const RUN_TIMEOUT_MS = 240_000;
const SOCKET_TIMEOUT_MS = 60_000;
const SHUTDOWN_TIMEOUT_MS = 60_000;
/** From a closed connection to QEMU's end, at most. */
const CONNECTION_GRACE_MS = 2_000;
/** Most output that run() collects of a stream, in bytes. */
const MAX_OUTPUT = 64 * 1024 * 1024;

/** A guest that runs. */
export class Guest implements AsyncDisposable {
  /** Its name in messages. */
  readonly name: string;
  /** What it was made from. */
  readonly testbed: Testbed;
  /** File with its console's output and QEMU's messages. */
  readonly logFile: string;
  /** Process id of its QEMU. */
  readonly pid: number;
  /** Resolves when its QEMU has ended, however. */
  readonly exited: Promise<Deno.CommandStatus>;

  readonly #child: Deno.ChildProcess;
  readonly #runDir: RunDir;
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  #qmp: Qmp | undefined;
  #agent: AgentClient | undefined;
  #ready: Promise<void> = Promise.resolve();
  #gone = false;
  #greeted = false;
  #resetsWhileBooting = 0;
  readonly #readers: Promise<void>[] = [];

  private constructor(
    options: GuestOptions,
    parts: { testbed: Testbed; runDir: RunDir; log: string },
    child: Deno.ChildProcess,
  ) {
    this.name = options.name ?? "guest";
    this.testbed = parts.testbed;
    this.logFile = parts.log;
    this.#runDir = parts.runDir;
    this.#child = child;
    this.pid = child.pid;
    this.exited = this.#watch();
  }

  /** Prepare what is missing, start a guest, and wait for its agent. */
  static async boot(options: GuestOptions = {}): Promise<Guest> {
    const { kernel, packages, module } = options;
    const progress = options.progress ?? noProgress;
    const testbed = await ensureTestbed({
      progress,
      ...(kernel === undefined ? {} : { kernel }),
      ...(packages === undefined ? {} : { packages }),
      ...(module === undefined ? {} : { module }),
    });
    options.signal?.throwIfAborted();
    if (options.socket !== undefined) await checkSocket(options.socket);
    const runDir = await RunDir.create();
    let guest: Guest | undefined;
    try {
      const started = guest = await Guest.#start(options, testbed, runDir);
      const abort = (): Promise<void> => started.kill();
      options.signal?.addEventListener("abort", abort);
      if (options.signal?.aborted) await abort();
      await guest.#connect();
      await guest.ready(options.bootTimeoutMs ?? BOOT_TIMEOUT_MS);
      return guest;
    } catch (error) {
      const name = options.name ?? "guest";
      const tail = guest === undefined ? "" : `; its log ${guest.logFile} ends:\n${await tailOf(guest.logFile)}`;
      if (guest === undefined) await runDir[Symbol.asyncDispose]();
      else await guest.kill();
      if (error instanceof GuestError || error instanceof TestbedError) {
        throw error;
      }
      throw new GuestError(
        `${name} did not boot: ${messageOf(error)}${tail}`,
        { cause: error },
      );
    }
  }

  static async #start(
    options: GuestOptions,
    testbed: Testbed,
    runDir: RunDir,
  ): Promise<Guest> {
    const name = options.name ?? "guest";
    const log = options.logFile === undefined ? await defaultLog(name, runDir.path) : resolve(options.logFile);
    await Deno.writeTextFile(log, "", { append: true });
    const append = [`csvn.hostname=${encodeParameter(name)}`];
    if (options.moduleArgs !== undefined) {
      append.push(`csvn.modargs=${encodeParameter(options.moduleArgs)}`);
    }
    let copy: string | undefined;
    if (options.copy !== undefined) {
      const image = await makeCopyImage(options.copy, runDir.path, log);
      copy = image.path;
      append.push(`csvn.copy=${image.parameter}`);
    }
    const args = qemuArguments({
      accel: testbed.accel,
      cpus: options.cpus ?? 2,
      memoryMiB: options.memoryMiB ?? 512,
      kernel: testbed.kernel.image,
      initramfs: testbed.initramfs,
      image: testbed.image,
      copy,
      append: [...append, ...(options.kernelArgs ?? [])],
      log,
      qmpSocket: join(runDir.path, "qmp"),
      agentSocket: join(runDir.path, "agent"),
      socket: options.socket === undefined ? undefined : resolve(options.socket),
      hotplug: options.hotplug,
      countInstructions: options.countInstructions,
      extra: options.extraQemuArgs ?? [],
    });
    // A session of its own, so that Ctrl-C is ours to handle; and it dies with
    // this process, however this one dies.
    const within = options.namespace === undefined ? [] : ["ip", "netns", "exec", options.namespace];
    const child = new Deno.Command("setsid", {
      args: [
        ...within,
        ...["setpriv", "--pdeathsig", "KILL", "--"],
        ...["sh", "-c", 'log=$1; shift; exec "$@" >>"$log" 2>&1', "sh", log],
        ...testbed.qemu.command,
        ...args,
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    return new Guest(options, { testbed, runDir, log }, child);
  }

  /** Wait for the agent (again, after a reset). */
  async ready(timeoutMs = BOOT_TIMEOUT_MS): Promise<void> {
    try {
      await deadline(this.#ready, timeoutMs);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      throw await this.#error(`its agent did not answer in ${timeoutMs} ms`);
    }
  }

  /** Start a command (for `bash -c`) and leave it running. */
  spawn(command: string, options: SpawnOptions = {}): GuestCommand {
    if (this.#agent === undefined) {
      throw new GuestError(`${this.name} is not running`);
    }
    const { terminal, stdin = true } = options;
    const term = options.term ?? Deno.env.get("TERM") ?? "vt100";
    return this.#agent.exec({
      command,
      input: stdin,
      terminal,
      term: terminal === undefined ? undefined : term,
    });
  }

  /**
   * Run a command (by `bash -c`) and collect its output as text.
   *
   * Throws {@link GuestError} if the guest dies, the time is over (then the
   * command has been killed), the output exceeds 64 MiB, or, with `check`, the
   * status is not 0.
   */
  async run(command: string, options: RunOptions = {}): Promise<Output> {
    const { timeoutMs = RUN_TIMEOUT_MS, stdin } = options;
    const child = this.spawn(command, { stdin: stdin !== undefined });
    const work = Promise.all([
      child.status,
      collect(child.stdout, MAX_OUTPUT),
      collect(child.stderr, MAX_OUTPUT),
      stdin === undefined ? undefined : feed(child, stdin),
    ]);
    work.catch(() => {});
    try {
      const [{ code }, stdout, stderr] = await deadline(work, timeoutMs);
      if (options.check && code !== 0) {
        const tail = stderr.trimEnd().split("\n").slice(-10).join("\n");
        throw new GuestError(
          `${this.name}: status ${code} of: ${command}\n${tail}`,
        );
      }
      return { code, stdout, stderr };
    } catch (error) {
      if (error instanceof GuestError) throw error;
      await child.kill();
      const why = error instanceof DOMException ? `killed after ${timeoutMs} ms` : messageOf(error);
      throw new GuestError(`${this.name}: ${why}: ${command}`, {
        cause: error,
      });
    }
  }

  /** Run a QMP command; what it returns. */
  async qmp(
    command: string,
    args: Record<string, unknown> = {},
  ): Promise<unknown> {
    if (this.#qmp === undefined) {
      throw new GuestError(`${this.name} is not running`);
    }
    return await this.#qmp.execute(command, args);
  }

  /** Hear QMP events until the returned function is called. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Reset the machine, as its button would, and wait for its agent. */
  async reset(timeoutMs = BOOT_TIMEOUT_MS): Promise<void> {
    await this.#resets(() => this.qmp("system_reset"), SOCKET_TIMEOUT_MS);
    await this.ready(timeoutMs);
  }

  /** Have its kernel reboot the machine, whatever programs do, and wait for its agent. */
  async reboot(timeoutMs = BOOT_TIMEOUT_MS): Promise<void> {
    await this.#resets(() => Promise.resolve(this.spawn("busybox reboot -f", { stdin: false })), timeoutMs);
    await this.ready(timeoutMs);
  }

  /** Do something that resets the machine, and wait until it has. */
  async #resets(act: () => Promise<unknown>, timeoutMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const stop = this.onEvent((event) => {
      if (event.event === "RESET") resolve();
    });
    try {
      await act();
      await deadline(promise, timeoutMs);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      throw await this.#error(`was not reset in ${timeoutMs} ms`);
    } finally {
      stop();
    }
  }

  /** Sync and power off; killed if that takes longer than a minute. */
  async shutdown(): Promise<void> {
    try {
      await this.#agent?.powerOff();
      await deadline(this.exited, SHUTDOWN_TIMEOUT_MS);
    } catch {
      // Not in a state to hear it: the end is the same.
    }
    await this.kill();
  }

  /** Kill its QEMU, and wait until that is gone. */
  async kill(): Promise<void> {
    if (!this.#gone) {
      try {
        this.#child.kill("SIGKILL");
      } catch {
        // It has just ended.
      }
    }
    await this.exited;
  }

  /** Kill it if it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  /** An error that names the guest and shows the end of its log. */
  async #error(what: string): Promise<GuestError> {
    const tail = await tailOf(this.logFile);
    return new GuestError(
      `${this.name}: ${what}; its log ${this.logFile} ends:\n${tail}`,
    );
  }

  /** What to tell when QEMU has ended: its last words first. */
  async #endError(status: Deno.CommandStatus): Promise<GuestError> {
    const how = status.signal ?? `status ${status.code}`;
    const words = (await tailOf(this.logFile)).split("\n")
      .findLast((line) => /^qemu-system-x86_64: /.test(line) && !/warning: /.test(line));
    const why = words?.replace(/^qemu-system-x86_64: /, "");
    return await this.#error(
      `QEMU has ended (${how}${why === undefined ? "" : `: ${why}`})`,
    );
  }

  /** A connection broke: most likely because QEMU has ended. */
  async #explain(error: Error): Promise<Error> {
    try {
      return await this.#endError(
        await deadline(this.#child.status, CONNECTION_GRACE_MS),
      );
    } catch {
      return error;
    }
  }

  /** Wait for QEMU's end, and clean up after it. */
  async #watch(): Promise<Deno.CommandStatus> {
    const status = await this.#child.status;
    this.#gone = true;
    const error = await this.#endError(status);
    this.#agent?.fail(error);
    this.#qmp?.fail(error);
    await Promise.allSettled([...this.#readers, this.#ready]);
    await this.#runDir[Symbol.asyncDispose]();
    return status;
  }

  /** Connect to one of QEMU's sockets, which shows up a moment after start. */
  async #dial(name: string): Promise<Deno.Conn> {
    const path = join(this.#runDir.path, name);
    const end = Date.now() + SOCKET_TIMEOUT_MS;
    for (;;) {
      if (this.#gone) throw await this.#endError(await this.#child.status);
      try {
        return await Deno.connect({ transport: "unix", path });
      } catch (error) {
        if (Date.now() > end) throw error;
        await delay(10);
      }
    }
  }

  async #connect(): Promise<void> {
    const qmp = new Qmp(await this.#dial("qmp"), (event) => {
      if (event.event === "RESET") this.#onReset(event);
      for (const listener of this.#listeners) listener(event);
    }, (error) => this.#explain(error));
    this.#qmp = qmp;
    this.#readers.push(qmp.closed);
    this.#ready = this.#greet();
    this.#ready.catch(() => {}); // told by ready()
    await qmp.negotiate();
  }

  /** A new connection to the agent. */
  async #greet(): Promise<void> {
    const agent = new AgentClient(
      await this.#dial("agent"),
      (error) => this.#explain(error),
    );
    this.#agent = agent;
    this.#readers.push(agent.closed);
    // As long as the longest boot; whoever waits has a bound of its own.
    await agent.hello(10 * BOOT_TIMEOUT_MS);
    this.#greeted = true;
  }

  /** The agent starts anew: what it ran is lost. */
  #onReset(event: QmpEvent): void {
    const old = this.#agent;
    if (!this.#greeted) {
      // The firmware answers a reset with one of its own, to start clean. More
      // is a kernel that panics again and again.
      if (++this.#resetsWhileBooting < 2) return;
      this.#error("resets itself while it boots").then((error) => old?.fail(error));
      return;
    }
    this.#greeted = false;
    this.#resetsWhileBooting = 0;
    this.#ready = (async (): Promise<void> => {
      old?.fail(
        event.data["guest"] === true
          ? await this.#error("has reset itself")
          : new GuestError(`${this.name}: was reset`),
      );
      await this.#greet();
    })();
    this.#ready.catch(() => {}); // told by ready()
  }
}
