import { assert, assertEquals } from "@std/assert";
import { EventKind, Layout } from "../../../src/ffi/abi.ts";
import type { Library } from "../../../src/ffi/library.ts";
import { Plane } from "../../../src/ffi/plane.ts";

const DEVICE = 7;
const LISTENER = 3;

/** A control event of 16 bytes. */
function control(ticket: number): Uint8Array {
  const bytes = new Uint8Array(40);
  const view = new DataView(bytes.buffer);
  [40, 6, DEVICE, ticket, 16, 24].forEach((value, i) => view.setUint32(4 * i, value, true));
  return bytes;
}

/** An event about a session, with 32-bit words behind its header. */
function ofSession(kind: number, session: number, aux: number, words: readonly number[]): Uint8Array {
  return new Uint8Array(Int32Array.of(16 + 4 * words.length, kind, session, aux, ...words).buffer);
}

/** A library that is none: so many events each time that it is asked, whenever it is asked; and what it was told. */
class FakeLibrary {
  readonly calls: string[] = [];
  ticket = 0;
  /** Events that there still are. */
  left = Infinity;
  /** Events that come before them. */
  first: Uint8Array[] = [];

  #bell: Promise<Deno.Conn> | undefined;

  constructor(readonly perTake: number) {}

  async #ring(): Promise<void> {
    await (await this.#bell!).write(new Uint8Array(1));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    (await this.#bell!).close();
  }

  readonly symbols = {
    csvn_plane_open: () => 1,
    csvn_plane_close: () => 0,
    csvn_device_open: () => DEVICE,
    csvn_events_wake: () => 0,
    csvn_listen: () => LISTENER,
    csvn_unlisten: () => 0,
    csvn_session_close: (_plane: number, session: number) => this.calls.push(`session ${session} closed`),
    csvn_fd_close: (fd: number) => this.calls.push(`descriptor ${fd} closed`),
    csvn_events_take: (_plane: number, buffer: Uint8Array) => {
      const first = this.first.shift();
      if (first) {
        buffer.set(first);
        return first.length;
      }
      const count = Math.min(this.perTake, this.left);
      this.left -= count;
      for (let i = 0; i < count; i++) buffer.set(control(this.ticket++), 40 * i);
      return 40 * count;
    },
    csvn_events_bell: (_plane: number, path: Uint8Array) => {
      this.#bell = Deno.connect({ transport: "unix", path: new TextDecoder().decode(path) });
      return 0;
    },
    csvn_events_park: () => {
      this.calls.push("wait");
      setTimeout(() => this.#ring(), 1);
      return 1;
    },
    csvn_turn: () => {
      this.calls.push("turn");
      return new Promise<number>((resolve) => setTimeout(() => resolve(0), 0));
    },
    csvn_signals: (_plane: number, hold: number) => this.calls.push(hold ? "hold" : "send"),
  };
}

/** Let a plane handle the events of a library, each of which takes so many milliseconds. */
async function run(library: FakeLibrary, ms: number, handle: (ticket: number) => void): Promise<Plane> {
  const plane = new Plane(library as unknown as Library, (error) => {
    library.calls.push(`${error}`);
  });
  plane.openDevice({
    control: (ticket) => {
      library.calls.push(`${ticket}`);
      for (const until = performance.now() + ms; performance.now() < until;);
      handle(ticket);
    },
    fault: () => {},
  });
  await plane.start();
  return plane;
}

for (const perTake of [1, 1000]) {
  Deno.test(`a plane that always has events, ${perTake} at a time, lets timers have their turn, and can be closed`, async () => {
    await using library = new FakeLibrary(perTake);
    let handled = 0;
    const plane = await run(library, 0.1, () => handled++);
    const late: number[] = [];
    for (let i = 0; i < 5; i++) {
      const before = handled;
      await new Promise((resolve) => setTimeout(resolve, 0));
      late.push(handled - before);
    }
    library.left = 0;
    await plane[Symbol.asyncDispose]();
    // A turn of 1 ms is ten events, and up to 32 more that come to one interrupt; a timer may take a few turns.
    assert(late.every((events) => events < 500), `timers waited for ${late} events`);
    assertEquals(
      library.calls.filter((call) => /^\d/.test(call)).map(Number),
      Array.from({ length: handled }, (_, i) => i),
    );
  });
}

Deno.test("a plane sends interrupts after at most 32 events, after the last one, and before others have their turn", async () => {
  await using library = new FakeLibrary(70);
  library.left = 140;
  const plane = await run(library, 0, (ticket) => {
    if (ticket === 5) throw new Error("of the test");
    if (ticket === 100) { for (const until = performance.now() + 3; performance.now() < until;); }
  });
  while (!library.calls.includes("wait")) await new Promise((resolve) => setTimeout(resolve, 1));
  await plane[Symbol.asyncDispose]();
  const calls = library.calls.slice(0, library.calls.indexOf("wait")).filter((call) => !/^\d/.test(call));
  const slow = ["send", "turn"];
  const found = calls.join(" ");
  assertEquals(calls.filter((call) => call.startsWith("Error")), ["Error: of the test"]);
  assert(found.includes(slow.join(" ")), found);
  // Every event lies between a "hold" and the next "hold" or "send".
  let held = 0;
  for (const call of library.calls.slice(0, library.calls.indexOf("wait"))) {
    if (call === "hold") held = 1;
    else if (call === "send") held = 0;
    else if (/^\d/.test(call)) assert(held++ > 0 && held <= 33, `${call}: ${held}`);
    else if (call === "turn") assertEquals(held, 0);
  }
  assertEquals(held, 0, "the last ones are sent");
});

Deno.test("a plane does not remember front-ends that are turned away, and closes what comes of them all the same", async () => {
  await using library = new FakeLibrary(1);
  library.left = 0;
  await using plane = new Plane(library as unknown as Library, (error) => void library.calls.push(`${error}`));
  const handler = { message: () => {}, backendMessage: () => {}, end: () => {}, backendEnd: () => {} };
  plane.listen("/nowhere", 0o600, (frontEnd, { pid }) => {
    if (pid === 1) return handler;
    frontEnd.close();
    return undefined;
  });
  const accepted = (session: number, pid: number): Uint8Array =>
    ofSession(EventKind.ACCEPTED, session, LISTENER, [pid, 0, 0, 0]);
  const { size, size_, descriptors, fds, request } = Layout.event_message;
  const words = Array(size / 4).fill(0);
  words[request / 4] = 1;
  words[size_ / 4] = 0;
  words[descriptors / 4] = 2;
  [20, 21].forEach((fd, i) => words[fds / 4 + i] = fd);
  for (let session = 100; session < 200; session++) library.first.push(accepted(session, 2));
  library.first.push(accepted(200, 1), ofSession(EventKind.MESSAGE, 199, 0, words));
  await plane.start();
  while (!library.calls.includes("wait")) await new Promise((resolve) => setTimeout(resolve, 1));
  assertEquals(plane.sessions, 1);
  assertEquals(library.calls.filter((call) => call.startsWith("descriptor")), [
    "descriptor 20 closed",
    "descriptor 21 closed",
  ]);
  assertEquals(library.calls.filter((call) => call.startsWith("session")).length, 100);
});
