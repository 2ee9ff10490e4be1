import { assertEquals, assertRejects } from "@std/assert";
import { GuestCommand } from "../../tools/testbed/command.ts";
import { type Frame, FrameReader, FrameType, IN_WINDOW, words } from "../../tools/testbed/frames.ts";
import { collect } from "../../tools/testbed/streams.ts";

/** A command whose frames end up in an array. */
function make(): { command: GuestCommand; sent: Frame[] } {
  const sent: Frame[] = [];
  const command = new GuestCommand(7, (bytes) => {
    sent.push(...new FrameReader().push(bytes));
    return Promise.resolve();
  });
  return { command, sent };
}

function frame(type: number, payload: Uint8Array = new Uint8Array()): Frame {
  return { type, id: 7, payload };
}

const LIMIT = 1 << 20;

Deno.test("GuestCommand gives credit for what its reader took, and only that", async () => {
  const { command, sent } = make();
  command.accept(frame(FrameType.output, new Uint8Array(100)));
  command.accept(frame(FrameType.output, new Uint8Array(50)));
  assertEquals(sent, []);
  const reader = command.stdout.getReader();
  assertEquals((await reader.read()).value?.length, 100);
  assertEquals(sent.map(({ type, payload }) => [type, [...payload]]), [
    [FrameType.credit, [...words(1, 100)]],
  ]);
  await reader.cancel();
  assertEquals([...sent[1]!.payload], [...words(1, 50)]);
});

Deno.test("GuestCommand delivers what came before the exit", async () => {
  const { command } = make();
  command.accept(frame(FrameType.output, new TextEncoder().encode("out")));
  command.accept(frame(FrameType.errors, new TextEncoder().encode("err")));
  assertEquals(command.accept(frame(FrameType.exit, words(1, 15))), true);
  assertEquals(await collect(command.stdout, LIMIT), "out");
  assertEquals(await collect(command.stderr, LIMIT), "err");
  assertEquals(await command.status, { code: 143, signal: 15 });
});

Deno.test("GuestCommand sends no more input than the window, until credit comes", async () => {
  const { command, sent } = make();
  const writer = command.stdin.getWriter();
  const done = writer.write(new Uint8Array(IN_WINDOW + 1));
  await new Promise((resolve) => setTimeout(resolve, 5));
  const size = (): number => sent.reduce((sum, { payload }) => sum + payload.length, 0);
  assertEquals(size(), IN_WINDOW);
  command.accept(frame(FrameType.inputCredit, words(1)));
  await done;
  assertEquals(size(), IN_WINDOW + 1);
  await writer.close();
  assertEquals(sent.at(-1)?.payload.length, 0);
});

Deno.test("GuestCommand fails everything that waits when the guest is gone", async () => {
  const { command } = make();
  const reading = collect(command.stdout, LIMIT);
  reading.catch(() => {});
  const writing = command.stdin.getWriter().write(new Uint8Array(1 << 20));
  writing.catch(() => {});
  command.fail(new Error("gone"));
  await assertRejects(() => reading, Error, "gone");
  await assertRejects(() => writing, Error, "gone");
  await assertRejects(() => command.status, Error, "gone");
});

Deno.test("collect() stops at its limit", async () => {
  const { command } = make();
  command.accept(frame(FrameType.output, new Uint8Array(11)));
  await assertRejects(() => collect(command.stdout, 10), RangeError);
});
