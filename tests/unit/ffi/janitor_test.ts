import { assert, assertEquals, assertRejects } from "@std/assert";
import { Errno, SystemError } from "../../../src/errno.ts";
import { Command, EventKind, Layout } from "../../../src/ffi/abi.ts";
import { Janitor, type Swept } from "../../../src/ffi/janitor.ts";
import type { Library } from "../../../src/ffi/library.ts";
import { CapturedLog } from "../../support/captured_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { until } from "../../support/until.ts";

/** A janitor's process that is the test's. */
interface FakeProcess {
  readonly handle: number;
  bell: Deno.Conn | undefined;
  given: number;
  done: number;
  /** The arenas of wipes that it was told of, by its numbers. */
  readonly wipes: number[];
  events: Uint8Array[];
  parked: boolean;
  killed: boolean;
}

/** A library whose janitors are the test's. */
class FakeLibrary implements AsyncDisposable {
  readonly processes: FakeProcess[] = [];
  /** Errno of adding or starting one; 0: that works. */
  addFails = 0;
  startFails = 0;
  added = 0;
  started = 0;

  readonly symbols = {
    csvn_janitor_add: () => {
      this.added++;
      if (this.addFails) return -this.addFails;
      const process = {
        handle: this.processes.length,
        bell: undefined,
        given: 0,
        done: 0,
        wipes: [],
        events: [],
        parked: false,
        killed: false,
      };
      this.processes.push(process);
      return process.handle;
    },
    csvn_port_start: async (_plane: number, handle: number, path: Uint8Array) => {
      this.started++;
      if (this.startFails) return -this.startFails;
      this.processes[handle]!.bell = await Deno.connect({ transport: "unix", path: new TextDecoder().decode(path) });
      return 0;
    },
    csvn_port_command: (_plane: number, handle: number, kind: number, arena: number) => {
      const process = this.processes[handle]!;
      process.given++;
      if (kind === Command.WIPE) process.wipes.push(arena);
      return 0;
    },
    csvn_port_give: () => 0,
    csvn_port_take: (_plane: number, handle: number, buffer: Uint8Array, _size: number, progress: Uint8Array) => {
      const process = this.processes[handle]!;
      this.#say(process, progress);
      let at = 0;
      for (const event of process.events.splice(0)) {
        buffer.set(event, at);
        at += event.length;
      }
      return at;
    },
    csvn_port_park: (_plane: number, handle: number) => {
      const process = this.processes[handle]!;
      process.parked = process.events.length === 0;
      return process.parked ? 1 : 0;
    },
    csvn_port_want: () => 0,
    csvn_port_progress: (_plane: number, handle: number, progress: Uint8Array) => {
      return this.#say(this.processes[handle]!, progress);
    },
    csvn_port_pid: (_plane: number, handle: number) => handle + 1,
    csvn_port_kill: (_plane: number, handle: number) => void (this.processes[handle]!.killed = true),
    csvn_port_forget: () => 0,
  };

  /** It does all that it was told. */
  async work(process: FakeProcess): Promise<void> {
    const { done, given } = process;
    for (let number = done; number < given; number++) {
      process.events.push(new Uint8Array(Int32Array.of(16, EventKind.RESULT, number, 0).buffer));
    }
    process.done = given;
    if (!process.parked) return;
    process.parked = false;
    await process.bell!.write(new Uint8Array(1));
  }

  /** The newest, once it was told so many things. */
  running(processes: number, given: number): Promise<FakeProcess> {
    return until("a janitor", () => {
      const process = this.processes.at(-1);
      return this.processes.length === processes && process!.given >= given ? process : undefined;
    });
  }

  #say({ done }: FakeProcess, progress: Uint8Array): number {
    new DataView(progress.buffer).setBigUint64(Layout.progress.done, BigInt(done), true);
    return 0;
  }

  [Symbol.asyncDispose](): Promise<void> {
    for (const { bell } of this.processes) bell?.close();
    return Promise.resolve();
  }
}

function begin(library: FakeLibrary): { janitor: Janitor; clock: FakeClock } {
  const clock = new FakeClock();
  const janitor = new Janitor({
    library: library as unknown as Library,
    plane: 0,
    clock,
    report: (error) => {
      throw error;
    },
    dirty: () => {},
    flush: () => {},
    yield: () => Promise.resolve(),
  });
  return { janitor, clock };
}

let descriptors = 100;
const arena = (...vms: string[]): Swept => ({ fd: descriptors++, length: 4096, vms });
const wipe = (janitor: Janitor, swept: Swept): Promise<number> => janitor.wipe(swept, 0, 4096, 0);
/** A janitor is told of an arena, and to zero it. */
const TOLD = 2;

Deno.test("the janitor that follows one that has ended is watched as well", async () => {
  await using _log = await CapturedLog.begin();
  await using library = new FakeLibrary();
  const { janitor, clock } = begin(library);
  const held = arena("evil");
  const given = assertRejects(() => wipe(janitor, held), SystemError, "EBUSY");
  await library.running(1, TOLD);
  await clock.pass(100);
  janitor.ended(0, "has ended");
  const second = await library.running(2, TOLD);
  // Nothing else is asked for.
  await clock.pass(2000);
  assertEquals(second.killed, true);
  await given;
  janitor.ended(1, "has ended");
  janitor.close();
});

Deno.test("what a janitor was at that was killed, for whatever reason, is given to nobody until it has ended", async () => {
  await using _log = await CapturedLog.begin();
  await using library = new FakeLibrary();
  const { janitor } = begin(library);
  const [held, other] = [arena("evil"), arena("web")];
  const given = assertRejects(() => wipe(janitor, held), SystemError, "EBUSY");
  const done = wipe(janitor, other);
  const first = await library.running(1, 2 * TOLD);
  // It says what none does.
  first.events.push(new Uint8Array(Int32Array.of(16, 99, 0, 0).buffer));
  await until("it waits", () => first.parked);
  await first.bell!.write(new Uint8Array(1));
  await until("it is killed", () => first.killed);
  await given;
  const second = await library.running(2, TOLD);
  await library.work(second);
  assertEquals(await done, 0);
  for (const { handle } of [...library.processes]) janitor.ended(handle, "has ended");
  janitor.close();
});

Deno.test("of one VM's arenas no more than a few janitors are stuck, and of all no more than some", async () => {
  await using _log = await CapturedLog.begin();
  await using library = new FakeLibrary();
  const { janitor, clock } = begin(library);
  const stick = async (...vms: string[]): Promise<number> => {
    const before = library.processes.filter(({ killed }) => killed).length;
    const last = library.processes.at(-1);
    const given = last?.given ?? 0;
    let over = false;
    const refused = assertRejects(() => wipe(janitor, arena(...vms)), SystemError, "EBUSY").then(() => over = true);
    await until("it is refused, or a janitor is told", () => {
      const now = library.processes.at(-1);
      return over || (now?.bell && (now === last ? now.given > given : now.given > 0));
    });
    await clock.pass(2000);
    await refused;
    return library.processes.filter(({ killed }) => killed).length - before;
  };
  const counts: number[] = [];
  for (let i = 0; i < 6; i++) counts.push(await stick("evil", `peer${i}`));
  assertEquals(counts, [1, 1, 1, 1, 0, 0]);
  // Nobody else notices.
  const web = wipe(janitor, arena("web", "peer0"));
  const worker = await library.running(5, TOLD);
  await library.work(worker);
  assertEquals(await web, 0);
  // It may again when its janitors have ended.
  janitor.ended(0, "was ended by signal 9");
  assertEquals(await stick("evil"), 1);
  let all = library.processes.filter(({ killed }) => killed).length - 1;
  for (let i = 0; i < 100; i++) all += await stick(`more${i}`);
  assertEquals(all, 64);
  for (const { handle } of library.processes) janitor.ended(handle, "has ended");
  janitor.close();
});

Deno.test("a janitor that cannot be started is tried again once in a while, however much there is to do", async () => {
  await using log = await CapturedLog.begin();
  await using library = new FakeLibrary();
  const { janitor, clock } = begin(library);
  const swept = arena("web");
  library.addFails = Errno.ENFILE;
  const all = Array.from({ length: 500 }, () => wipe(janitor, swept));
  for (let i = 0; i < 5; i++) await clock.pass(1000);
  assert(library.added <= 6, `${library.added} tries`);
  library.addFails = 0;
  library.startFails = Errno.EAGAIN;
  await clock.pass(1000);
  await until("it could not be started", async () => (await clock.pass(100), library.started === 2));
  for (let i = 0; i < 50; i++) all.push(wipe(janitor, swept));
  assertEquals(library.started, 2);
  assert(log.lines.length <= 12, `${log.lines.length} lines`);
  library.startFails = 0;
  const worker = await until(
    "a janitor",
    async () => (await clock.pass(100), library.processes.find(({ bell }) => bell)),
  );
  await until("it was told", () => worker.wipes.length === 550);
  await library.work(worker);
  assertEquals(await Promise.all(all), all.map(() => 0));
  janitor.ended(worker.handle, "has ended");
  janitor.close();
});
