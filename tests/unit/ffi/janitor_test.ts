import { assert, assertEquals, assertRejects } from "@std/assert";
import { Errno, SystemError } from "../../../src/errno.ts";
import { Command, EventKind, Layout } from "../../../src/ffi/abi.ts";
import { Janitor, type Swept } from "../../../src/ffi/janitor.ts";
import type { Library } from "../../../src/ffi/library.ts";
import { Ports } from "../../../src/ffi/ports.ts";
import { CapturedLog } from "../../support/captured_log.ts";
import { FakeBell } from "../../support/fake_bell.ts";
import { FakeClock, settle } from "../../support/fake_clock.ts";
import { until } from "../../support/until.ts";

/** A janitor's process that is the test's. */
interface FakeProcess {
  readonly handle: number;
  started: boolean;
  given: number;
  done: number;
  /** The arenas of wipes that it was told of, by its numbers. */
  readonly wipes: number[];
  events: Uint8Array[];
  killed: boolean;
}

/** A library whose janitors are the test's. */
class FakeLibrary {
  readonly bell = new FakeBell();
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
        started: false,
        given: 0,
        done: 0,
        wipes: [],
        events: [],
        killed: false,
      };
      this.processes.push(process);
      return process.handle;
    },
    csvn_port_start: (_plane: number, handle: number) => {
      this.started++;
      this.processes[handle]!.started = this.startFails === 0;
      return Promise.resolve(-this.startFails);
    },
    csvn_ports_hear: (_plane: number, ports: Uint8Array) => {
      const telling = this.processes.find(({ events, killed }) => events.length > 0 && !killed);
      if (!telling) return -Errno.EAGAIN;
      new DataView(ports.buffer).setInt32(0, telling.handle, true);
      return 1;
    },
    csvn_ports_flush: () => 0,
    csvn_turn: () => Promise.resolve(0),
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
    csvn_port_want: () => 0,
    csvn_port_progress: (_plane: number, handle: number, progress: Uint8Array) => {
      return this.#say(this.processes[handle]!, progress);
    },
    csvn_port_pid: (_plane: number, handle: number) => handle + 1,
    csvn_port_kill: (_plane: number, handle: number) => void (this.processes[handle]!.killed = true),
    csvn_port_forget: () => 0,
  };

  /** It does all that it was told. */
  work(process: FakeProcess): void {
    const { done, given } = process;
    for (let number = done; number < given; number++) {
      process.events.push(new Uint8Array(Int32Array.of(16, EventKind.RESULT, number, 0).buffer));
    }
    process.done = given;
    this.bell.ring();
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
}

interface Begun extends AsyncDisposable {
  readonly janitor: Janitor;
  readonly clock: FakeClock;
  /** One of its processes has ended. */
  ended(handle: number, how: string): Promise<void>;
}

function begin(library: FakeLibrary): Begun {
  const clock = new FakeClock();
  const report = (error: unknown) => {
    throw error;
  };
  const ports = new Ports(library as unknown as Library, 0, clock, library.bell, () => {}, report);
  const janitor = new Janitor(ports);
  const ended = async (handle: number, how: string): Promise<void> => {
    ports.known.get(handle)?.ends(how);
    library.bell.ring();
    await settle();
  };
  return {
    janitor,
    clock,
    ended,
    async [Symbol.asyncDispose](): Promise<void> {
      for (const { handle } of [...library.processes]) await ended(handle, "has ended");
      janitor.close();
      await ports.close();
    },
  };
}

let descriptors = 100;
const arena = (...vms: string[]): Swept => ({ fd: descriptors++, length: 4096, vms });
const wipe = (janitor: Janitor, swept: Swept): Promise<number> => janitor.wipe(swept, 0, 4096, 0);
/** A janitor is told of an arena, and to zero it. */
const TOLD = 2;

Deno.test("the janitor that follows one that has ended is watched as well", async () => {
  await using _log = await CapturedLog.begin();
  const library = new FakeLibrary();
  await using begun = begin(library);
  const { janitor, clock } = begun;
  const held = arena("evil");
  const given = assertRejects(() => wipe(janitor, held), SystemError, "EBUSY");
  await library.running(1, TOLD);
  await clock.pass(100);
  await begun.ended(0, "has ended");
  const second = await library.running(2, TOLD);
  // Nothing else is asked for.
  await clock.pass(2000);
  assertEquals(second.killed, true);
  await given;
});

Deno.test("what a janitor was at that was killed, for whatever reason, is given to nobody until it has ended", async () => {
  await using _log = await CapturedLog.begin();
  const library = new FakeLibrary();
  await using begun = begin(library);
  const { janitor } = begun;
  const [held, other] = [arena("evil"), arena("web")];
  const given = assertRejects(() => wipe(janitor, held), SystemError, "EBUSY");
  const done = wipe(janitor, other);
  const first = await library.running(1, 2 * TOLD);
  // It says what none does.
  first.events.push(new Uint8Array(Int32Array.of(16, 99, 0, 0).buffer));
  library.bell.ring();
  await until("it is killed", () => first.killed);
  await given;
  const second = await library.running(2, TOLD);
  library.work(second);
  assertEquals(await done, 0);
});

Deno.test("of one VM's arenas no more than a few janitors are stuck, and of all no more than some", async () => {
  await using _log = await CapturedLog.begin();
  const library = new FakeLibrary();
  await using begun = begin(library);
  const { janitor, clock } = begun;
  const stick = async (...vms: string[]): Promise<number> => {
    const before = library.processes.filter(({ killed }) => killed).length;
    const last = library.processes.at(-1);
    const given = last?.given ?? 0;
    let over = false;
    const refused = assertRejects(() => wipe(janitor, arena(...vms)), SystemError, "EBUSY").then(() => over = true);
    await until("it is refused, or a janitor is told", () => {
      const now = library.processes.at(-1);
      return over || (now?.started && (now === last ? now.given > given : now.given > 0));
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
  library.work(worker);
  assertEquals(await web, 0);
  // It may again when its janitors have ended.
  await begun.ended(0, "was ended by signal 9");
  assertEquals(await stick("evil"), 1);
  let all = library.processes.filter(({ killed }) => killed).length - 1;
  for (let i = 0; i < 100; i++) all += await stick(`more${i}`);
  assertEquals(all, 64);
});

Deno.test("a janitor that cannot be started is tried again once in a while, however much there is to do", async () => {
  await using log = await CapturedLog.begin();
  const library = new FakeLibrary();
  await using begun = begin(library);
  const { janitor, clock } = begun;
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
    async () => (await clock.pass(100), library.processes.find(({ started }) => started)),
  );
  await until("it was told", () => worker.wipes.length === 550);
  library.work(worker);
  assertEquals(await Promise.all(all), all.map(() => 0));
});
