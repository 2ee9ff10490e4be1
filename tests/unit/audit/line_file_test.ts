import { assertEquals, assertThrows } from "@std/assert";
import { appendTo, LineFile, type Sink } from "../../../src/audit/line_file.ts";
import { SystemError } from "../../../src/errno.ts";
import { until } from "../../support/until.ts";

/** A disk: so much room, and as slow as its gate is shut. */
class Disk {
  readonly bytes: number[] = [];
  room = Infinity;
  most = Infinity;
  gate: Promise<void> = Promise.resolve();
  opened = 0;
  closed = 0;

  get text(): string {
    return new TextDecoder().decode(Uint8Array.from(this.bytes));
  }

  open(): Sink {
    this.opened++;
    return {
      write: async (bytes) => {
        await this.gate;
        if (this.room === 0) throw new Error("No space left on device");
        const n = Math.min(bytes.length, this.room, this.most);
        this.room -= n;
        this.bytes.push(...bytes.subarray(0, n));
        return n;
      },
      close: () => void this.closed++,
    };
  }
}

const lost = (count: number): string => `lost ${count}`;

Deno.test("write() writes whole lines in order, in as few writes as it can, whatever each takes", async () => {
  for (const most of [1, 7, Infinity]) {
    const disk = new Disk();
    disk.most = most;
    await using file = new LineFile(() => disk.open(), lost);
    for (const line of ["one", "two", "drei ✓"]) file.write(line);
    await until("all", () => disk.text === "one\ntwo\ndrei ✓\n");
    file.write("four");
    await until("it", () => disk.text.endsWith("four\n"));
  }
});

Deno.test("a slow disk stops nobody: what does not fit is counted, and said", async () => {
  const disk = new Disk();
  const { promise, resolve } = Promise.withResolvers<void>();
  disk.gate = promise;
  await using file = new LineFile(() => disk.open(), lost, 10);
  file.write("first");
  await new Promise((resolve) => setTimeout(resolve, 1));
  for (const line of ["aaaa", "bbbb", "cccc", "dddd"]) file.write(line);
  resolve();
  await until("all", () => disk.text === "first\nlost 2\naaaa\nbbbb\n");
});

Deno.test("a full disk loses lines, and says how many when there is room again, on a line of its own", async () => {
  const disk = new Disk();
  await using file = new LineFile(() => disk.open(), lost);
  disk.room = 5;
  file.write("one");
  await new Promise((resolve) => setTimeout(resolve, 1));
  file.write("two");
  await new Promise((resolve) => setTimeout(resolve, 1));
  assertEquals(disk.text, "one\nt");
  file.write("three");
  await new Promise((resolve) => setTimeout(resolve, 1));
  disk.room = Infinity;
  file.write("four");
  await until("it", () => disk.text === "one\nt\nlost 2\nfour\n");
});

Deno.test("reopen() writes on in another file, and keeps the old one when that fails", async () => {
  const disks = [new Disk(), new Disk()];
  let at = 0;
  {
    await using file = new LineFile(() => {
      if (at > 1) throw new Error("because of the test");
      return disks[at++]!.open();
    }, lost);
    file.write("one");
    await until("it", () => disks[0]!.text === "one\n");
    file.reopen();
    file.write("two");
    assertThrows(() => file.reopen(), Error, "because of the test");
    file.write("three");
  }
  assertEquals(disks.map(({ text, closed }) => [text, closed]), [["one\n", 1], ["two\nthree\n", 1]]);
});

Deno.test("reopen() while a write is under way closes the old file after it", async () => {
  const disk = new Disk();
  const { promise, resolve } = Promise.withResolvers<void>();
  disk.gate = promise;
  {
    await using file = new LineFile(() => disk.open(), lost);
    file.write("one");
    await new Promise((resolve) => setTimeout(resolve, 1));
    file.reopen();
    assertEquals([disk.opened, disk.closed], [2, 0]);
    resolve();
  }
  assertEquals([disk.text, disk.closed], ["one\n", 2]);
});

Deno.test("appendTo() makes a file of its owner's alone, adds to one that is there, and says what is wrong", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/audit.jsonl`;
    for (const line of ["one", "two"]) {
      await using file = new LineFile(() => appendTo(path), lost);
      file.write(line);
    }
    assertEquals(await Deno.readTextFile(path), "one\ntwo\n");
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    assertEquals(assertThrows(() => appendTo(`${directory}/a/b`), SystemError).code, "ENOENT");
    assertEquals(assertThrows(() => appendTo(directory), SystemError).code, "EISDIR");
    await new Deno.Command("mkfifo", { args: [`${directory}/pipe`] }).output();
    assertEquals(assertThrows(() => appendTo(`${directory}/pipe`), SystemError).code, "EINVAL");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
