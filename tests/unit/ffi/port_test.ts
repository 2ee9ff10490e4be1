import { assert, assertEquals, assertRejects } from "@std/assert";
import { Errno, SystemError } from "../../../src/errno.ts";
import { Command, EventKind, Layout, PortState } from "../../../src/ffi/abi.ts";
import type { Library } from "../../../src/ffi/library.ts";
import { Port } from "../../../src/ffi/port.ts";
import { Ports } from "../../../src/ffi/ports.ts";
import { CapturedLog } from "../../support/captured_log.ts";
import { FakeBell } from "../../support/fake_bell.ts";
import { FakeClock, settle } from "../../support/fake_clock.ts";
import { until } from "../../support/until.ts";

const EAGAIN = -Errno.EAGAIN;
const PORT = 7;

/** An event of a port. */
function event(kind: number, handle: number, aux: number, body: readonly number[] = []): Uint8Array {
  return new Uint8Array(Int32Array.of(16 + 4 * body.length, kind, handle, aux, ...body).buffer);
}

/** A library whose port is the test's: what it was told, and what it is to tell. */
class FakeLibrary {
  readonly bell = new FakeBell();
  /** Commands in the queue, by kind. */
  readonly commands: number[] = [];
  /** Those of them that are of no hurry. */
  readonly later: number[] = [];
  readonly given: number[] = [];
  readonly calls: string[] = [];
  /** Commands and files that there is room for. */
  room = Infinity;
  fileRoom = Infinity;
  done = 0;
  events: Uint8Array[] = [];
  /** More events, one for each number. */
  more: (() => Uint8Array | undefined) | undefined;
  state: number = PortState.RUNS;
  #wanted = 2n ** 64n - 1n;
  #asleep = false;

  readonly symbols = {
    csvn_port_start: () => Promise.resolve(0),
    // It looks at the port, and rings the bell, as the library does.
    csvn_ports_hear: (_plane: number, ports: Uint8Array) => {
      this.#asleep = !this.#hasSomething;
      if (this.#asleep) return EAGAIN;
      new DataView(ports.buffer).setInt32(0, PORT, true);
      return 1;
    },
    csvn_ports_flush: () => void this.calls.push("flush"),
    csvn_turn: () => {
      this.calls.push("turn");
      return new Promise((resolve) => setTimeout(() => resolve(0), 0));
    },
    csvn_port_command: (
      ...[, , kind, , , , , later]: [number, number, number, number, number, Uint8Array, number, number]
    ) => {
      if (this.room <= 0) return EAGAIN;
      this.room--;
      this.commands.push(kind);
      if (later === 1) this.later.push(kind);
      return 0;
    },
    csvn_port_give: (_plane: number, _port: number, file: number) => {
      if (this.fileRoom <= 0) return EAGAIN;
      this.fileRoom--;
      this.given.push(file);
      this.commands.push(-1);
      return 0;
    },
    csvn_port_take: (_plane: number, _port: number, buffer: Uint8Array, size: number, progress: Uint8Array) => {
      this.#say(progress);
      let at = 0;
      for (let next; at < size - 64 && (next = this.events.shift() ?? this.#next());) {
        buffer.set(next, at);
        at += (next.length + 7) & ~7;
      }
      return at;
    },
    csvn_port_want: (_plane: number, _port: number, wanted: bigint) => {
      this.#wanted = wanted;
      this.#ring();
      return 0;
    },
    csvn_port_progress: (_plane: number, _port: number, progress: Uint8Array) => this.#say(progress),
    csvn_port_state: () => this.state,
    csvn_port_pid: () => 1,
    csvn_port_kill: () => void this.calls.push("kill"),
    csvn_port_forget: () => void this.calls.push("forget"),
  };

  /** What it was called for, but for flushes. */
  get told(): string[] {
    return this.calls.filter((call) => call !== "flush");
  }

  #say(progress: Uint8Array): number {
    new DataView(progress.buffer).setBigUint64(Layout.progress.done, BigInt(this.done), true);
    return 0;
  }

  /** The port has done so many commands, and told these events. */
  async tell(done: number, ...events: Uint8Array[]): Promise<void> {
    this.done = done;
    this.events.push(...events);
    this.#ring();
    await settle();
  }

  get #hasSomething(): boolean {
    if (this.calls.includes("kill")) return false;
    return this.events.length > 0 || this.more !== undefined || BigInt(this.done) >= this.#wanted;
  }

  #next(): Uint8Array | undefined {
    const next = this.more?.();
    if (!next) this.more = undefined;
    return next;
  }

  #ring(): void {
    if (!this.#asleep || !this.#hasSomething) return;
    this.#asleep = false;
    this.bell.ring();
  }
}

async function started(
  library: FakeLibrary,
  clock = new FakeClock(),
): Promise<Port> {
  const report = (error: unknown) => void library.calls.push(`${error}`);
  const ports = new Ports(library as unknown as Library, 0, clock, library.bell, () => {}, report);
  const port = new Port(ports, PORT);
  await port.start();
  await settle();
  library.calls.length = 0;
  return port;
}

async function stop(port: Port): Promise<void> {
  port.lost("the test is over");
  assertEquals(port.context.known.size, 0);
  await (port.context as Ports).close();
}

Deno.test("commands that there is no room for wait, in their order, with the files between them", async () => {
  const library = new FakeLibrary();
  const port = await started(library);
  library.room = 1;
  port.command(Command.ROUTE);
  port.command(Command.UNROUTE);
  const { file, given } = port.give(99);
  port.command(Command.BACKEND_SEND, file);
  assertEquals(library.commands, [Command.ROUTE]);
  library.room = 1;
  await library.tell(1);
  await until("the file", () => library.given.length === 1);
  await given;
  library.room = 9;
  await library.tell(2);
  await until("the last", () => library.commands.length === 4);
  assertEquals(library.commands, [Command.ROUTE, Command.UNROUTE, -1, Command.BACKEND_SEND]);
  await stop(port);
});

Deno.test("files that there is no room for are tried again, and what comes after them waits", async () => {
  const library = new FakeLibrary();
  const clock = new FakeClock();
  const port = await started(library, clock);
  library.fileRoom = 0;
  port.give(99);
  port.command(Command.NOTHING);
  assertEquals(library.commands, []);
  library.fileRoom = 1;
  await clock.pass(100);
  assertEquals(library.commands, [-1, Command.NOTHING]);
  await stop(port);
});

Deno.test("what is acknowledged when, and outcomes", async () => {
  const library = new FakeLibrary();
  const port = await started(library);
  const seen: string[] = [];
  const first = port.acknowledged(Command.UNROUTE).then(() => void seen.push("first"));
  port.command(Command.NOTHING);
  const asked = port.ask("do it", Command.MEMORY).then((value) => void seen.push(`${value}`));
  const refused = assertRejects(() => port.ask("start it", Command.QUEUE_START), SystemError, "start it");
  const last = port.acknowledged(Command.UNROUTE).then(() => void seen.push("last"));
  await library.tell(1);
  await first;
  assertEquals(seen, ["first"]);
  await library.tell(4, event(EventKind.RESULT, 2, 5), event(EventKind.RESULT, 3, -Errno.EFAULT));
  await Promise.all([asked, refused]);
  assertEquals(seen, ["first", "5"]);
  await library.tell(5);
  await last;
  // One that is given while the port's loop sleeps.
  await library.tell(5);
  const more = port.acknowledged(Command.HOST_CLOSE);
  await library.tell(6);
  await more;
  await stop(port);
});

Deno.test("a port that is gone has done all that it ever will", async () => {
  const library = new FakeLibrary();
  const port = await started(library);
  const reasons: string[] = [];
  port.ended = (reason) => void reasons.push(reason);
  const acknowledged = port.acknowledged(Command.UNROUTE);
  const refused = assertRejects(() => port.ask("map", Command.MEMORY), SystemError, "map");
  library.room = 0;
  const { given } = port.give(5);
  port.lost("it has died");
  await Promise.all([acknowledged, refused, given, port.acknowledged(Command.NOTHING), port.give(6).given]);
  await assertRejects(() => port.ask("map", Command.MEMORY), SystemError, "map");
  assertEquals([reasons, library.told, port.state], [["it has died"], ["forget"], "over"]);
  await stop(port);
  assertEquals(reasons.length, 1);
});

Deno.test("a port that does nothing for a while is killed, and is its VM's loss at once; what it may touch is given back when it has ended", async () => {
  await using log = await CapturedLog.begin();
  const library = new FakeLibrary();
  const clock = new FakeClock();
  const port = await started(library, clock);
  port.title = "the port of evil";
  const seen: string[] = [];
  port.ended = (reason) => void seen.push(reason);
  port.over = () => void seen.push("over");
  port.acknowledged(Command.HOST_CLOSE).then(() => void seen.push("acknowledged"));
  port.obeyed(Command.UNROUTE).then(() => void seen.push("obeyed"));
  const refused = assertRejects(() => port.ask("map", Command.MEMORY), SystemError, "map");
  const { given } = port.give(5);
  await clock.pass(9_000);
  library.done = 1; // It does something.
  await clock.pass(9_000);
  assertEquals([library.told, port.state, seen], [[], "running", []]);
  await clock.pass(5_000);
  await Promise.all([refused, given]);
  assertEquals([library.told, port.state, port.gone], [["kill"], "killed", true]);
  // Nobody can say what a process does that was killed and has not ended.
  assertEquals(seen, ["its port was killed: it has done nothing for 10 s", "obeyed"]);
  port.acknowledged(Command.HOST_CLOSE).then(() => void seen.push("later"));
  await port.obeyed(Command.UNROUTE);
  await assertRejects(() => port.ask("map", Command.MEMORY), SystemError, "map");
  await port.give(6).given;
  await clock.pass(1_000_000);
  assertEquals([library.told, port.state, seen.length], [["kill"], "written off", 2]);
  for (const line of [/evil.*process 1.*has done nothing for 10 s: killed/, /evil.*process 1.*written off/]) {
    assert(log.lines.some((text) => line.test(text)), log.lines.join("\n"));
  }
  // It has ended after all.
  port.lost("it was killed");
  await port.acknowledged(Command.NOTHING);
  assertEquals([library.told, port.state, clock.pending], [["kill", "forget"], "over", 0]);
  assertEquals(seen.slice(2).sort(), ["acknowledged", "later", "over"]);
  await stop(port);
});

Deno.test("an idle port is asked for a sign of life, and killed when it gives none; a busy one is not asked", async () => {
  const library = new FakeLibrary();
  const clock = new FakeClock();
  const port = await started(library, clock);
  port.beat();
  assertEquals(library.commands, [Command.NOTHING]);
  library.done = 1;
  await clock.pass(10_000);
  port.command(Command.ROUTE);
  port.beat();
  assertEquals(library.commands, [Command.NOTHING, Command.ROUTE]);
  library.done = 2;
  await clock.pass(1_000_000);
  assertEquals(library.told, []);
  port.beat();
  await clock.pass(9_999);
  assertEquals(library.told, []);
  await clock.pass(1);
  assertEquals(library.told, ["kill"]);
  await stop(port);
});

Deno.test("when the whole machine has stood still, ports have their time all the same", async () => {
  const library = new FakeLibrary();
  const clock = new FakeClock();
  const port = await started(library, clock);
  port.beat();
  // No timer comes on time, the next one a moment after the port goes on.
  clock.jump(3_600_000);
  await clock.pass(7_000);
  library.done = 1;
  await clock.pass(100_000);
  assertEquals(library.told, []);
  await stop(port);
});

Deno.test("a port that was told to end, and is there still, is killed", async () => {
  const library = new FakeLibrary();
  const clock = new FakeClock();
  const port = await started(library, clock);
  port.end();
  library.done = 1;
  port.beat();
  assertEquals(library.commands, [Command.END]);
  await clock.pass(12_000);
  assertEquals([library.told, port.state], [["kill"], "killed"]);
  await stop(port);
});

Deno.test("a port that does what it is told is left alone", async () => {
  const library = new FakeLibrary();
  const clock = new FakeClock();
  const port = await started(library, clock);
  for (let i = 0; i < 100; i++) {
    port.command(Command.NOTHING);
    await clock.pass(5_000);
    library.done = i + 1;
  }
  await clock.pass(1_000_000);
  assertEquals(library.told, []);
  await stop(port);
});

Deno.test("a port that says what none says is killed", async () => {
  for (
    const wrong of [
      (library: FakeLibrary) => library.tell(9),
      (library: FakeLibrary) => library.tell(0, event(99, 0, 0)),
      (library: FakeLibrary) => library.tell(0, event(EventKind.HOST_DONE, 1, 0)),
    ]
  ) {
    await using log = await CapturedLog.begin();
    const library = new FakeLibrary();
    const port = await started(library);
    await wrong(library);
    await library.tell(library.done, event(EventKind.HOST_GONE, 1, 0));
    await until("its end", () => library.calls.includes("kill"));
    assert(log.lines.some((line) => line.includes("not to be believed") && line.includes(": killed")));
    await stop(port);
  }
});

Deno.test("answers are sent after at most 32 events, and others have their turn among any number of them", async () => {
  const library = new FakeLibrary();
  let handled = 0;
  const port = await started(library);
  port.handler = () => {
    handled++;
    library.calls.push(".");
    if (handled === 5) throw new Error("of the test");
  };
  const all = 20_000;
  let left = all;
  // Whether 500 of them, which come at once, take a millisecond, is not known; so the test takes one.
  library.more = () => {
    if (left % 500 === 0) { for (const until = performance.now() + 1; performance.now() < until;); }
    return left-- > 0 ? event(EventKind.HOST_GONE, 1, 0) : undefined;
  };
  await library.tell(0);
  await until("all of them", () => handled === all);
  const turns = library.calls.filter((call) => call === "turn").length;
  assert(turns >= 20, `${turns} turns of others`);
  const runs = library.calls.filter((call) => call === "." || call === "flush").join("").split("flush");
  assert(runs.every((run) => run.length <= 32), "flushed often enough");
  assertEquals(library.calls.filter((call) => call.startsWith("Error")), ["Error: of the test"]);
  assertEquals(port.events, all);
  await stop(port);
});

Deno.test("what is of no hurry wakes nobody: it is done with what comes next, or asked for in a moment", async () => {
  const library = new FakeLibrary();
  const clock = new FakeClock();
  const port = await started(library, clock);
  const seen: string[] = [];
  // The port is awake for something else, has done it, and tells of something: with that it is heard.
  port.obeyed(Command.UNROUTE).then(() => void seen.push("heard"));
  await settle();
  assertEquals([library.commands, library.later, library.calls], [[Command.UNROUTE], [Command.UNROUTE], []]);
  await library.tell(1, event(EventKind.HOST_GONE, 1, 0));
  assertEquals(seen, ["heard"]);
  await clock.pass(100);
  assertEquals(library.commands, [Command.UNROUTE]);
  // It has done it, and nothing was to be told.
  port.obeyed(Command.UNROUTE).then(() => void seen.push("looked"));
  await library.tell(2);
  assertEquals(seen, ["heard"]);
  await clock.pass(100);
  assertEquals([seen.splice(0), library.commands.length], [["heard", "looked"], 2]);
  // It sleeps: it is woken, and rings when it has done it. So it is for what has an outcome.
  port.obeyed(Command.UNROUTE).then(() => void seen.push("woken"));
  const outcome = port.ask("zero", Command.WIPE, 0, 0, new Uint8Array(), true).then((kept) => seen.push(`${kept}`));
  await settle();
  assertEquals(library.told, []);
  library.calls.length = 0;
  await clock.pass(1);
  assertEquals([library.commands.slice(2), library.later.length], [
    [Command.UNROUTE, Command.WIPE, Command.NOTHING],
    4,
  ]);
  assertEquals(library.calls, ["flush"]);
  await library.tell(3);
  assertEquals(seen, ["woken"]);
  await library.tell(5, event(EventKind.RESULT, 3, 1));
  await outcome;
  // Nothing is left to be done later.
  await clock.pass(100);
  assertEquals([seen, library.commands.length], [["woken", "1"], 5]);
  // A port that goes while somebody waits.
  port.obeyed(Command.UNROUTE).then(() => void seen.push("gone"));
  port.lost("it has died");
  await settle();
  assertEquals(seen.at(-1), "gone");
  await clock.pass(100);
  await stop(port);
});

Deno.test("what a port has told before its process ended is handled first", async () => {
  const library = new FakeLibrary();
  const port = await started(library);
  const seen: string[] = [];
  port.handler = ({ kind }) => void seen.push(kind);
  port.ended = (reason) => void seen.push(reason);
  port.ends("has ended");
  await library.tell(0, event(EventKind.HOST_GONE, 1, 0), event(EventKind.HOST_CONNECTED, 1, 0));
  assertEquals(seen, ["host-gone", "host-connected", "its port has ended"]);
  await stop(port);
});
