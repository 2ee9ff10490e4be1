import { assertEquals } from "@std/assert";
import { LogWriter } from "../../../src/cli/log_writer.ts";
import { until } from "../../support/until.ts";

/** A pipe of so many bytes. */
class Pipe {
  text = "";
  constructor(public room: number) {}
  writeSync(bytes: Uint8Array): number {
    if (this.room === 0) throw new Deno.errors.WouldBlock("full");
    const n = Math.min(bytes.length, this.room);
    this.text += new TextDecoder().decode(bytes.subarray(0, n));
    this.room -= n;
    return n;
  }
}

Deno.test("LogWriter.write() writes at once where it can", () => {
  const pipe = new Pipe(100);
  const writer = new LogWriter(pipe);
  writer.write("one\n");
  writer.write("two\n");
  assertEquals(pipe.text, "one\ntwo\n");
  writer.close();
});

Deno.test("LogWriter keeps what a full stream does not take, in order, and says how much it left out", async () => {
  const pipe = new Pipe(6);
  const writer = new LogWriter(pipe, 20);
  for (const line of ["first\n", "second\n", "third\n", "fourth\n", "fifth\n"]) writer.write(line);
  assertEquals(pipe.text, "first\n");
  pipe.room = 3;
  await until("a part", () => pipe.text.length === 9);
  assertEquals(pipe.text, "first\nsec");
  pipe.room = 1000;
  await until("the rest", () => pipe.text.includes("left out"));
  assertEquals(
    pipe.text,
    "first\nsecond\nthird\nfourth\ncsvn: 1 lines of the log were left out, since they were not read in time\n",
  );
  writer.close();
});

Deno.test("LogWriter outlives a stream that is gone", () => {
  const writer = new LogWriter({
    writeSync: () => {
      throw new Deno.errors.BrokenPipe("gone");
    },
  });
  writer.write("one\n");
  writer.close();
});
