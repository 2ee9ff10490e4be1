/**
 * What a byte costs, in instructions: by the guest's own TCP over lo, by sockets over a circuit, by a mapped circuit.
 *
 * `deno task bench:zero-copy`. One guest, emulated so that its clock counts instructions, and circuits that have both ends in it. Prints a
 * table; nothing here passes or fails.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program's own output

import { bootGuests } from "../tests/support/guests.ts";
import { installPrograms } from "../tests/support/guest_programs.ts";

const BYTES = 32 << 20;
const REPEATS = 3;
const PIECES = [4 << 10, 64 << 10];

await using vms = await bootGuests(["self"], {
  guest: { moduleArgs: "hairpin=1", countInstructions: true, cpus: 1, bootTimeoutMs: 300_000 },
});
const guest = vms.guests["self"]!;
await installPrograms([guest], ["guest/bench/cost.c"]);
const run = async (args: string): Promise<number[]> => {
  const { stdout } = await guest.run(`cost ${args}`, { check: true, timeoutMs: 600_000 });
  return stdout.trim().split(" ").map((word) => Number(word) / 1000);
};

const [tick] = await run("clock");
console.log(`an instruction takes ${tick} ns of the guest's clock\n`);
console.log("| pieces | the bytes are | way | sender | receiver | together |");
console.log("| --- | --- | --- | --- | --- | --- |");
for (const piece of PIECES) {
  for (const bytes of ["pass", "touch"]) {
    for (
      const [way, address, how] of [
        ["TCP over lo", "127.0.0.1", "send"],
        ["sockets over a circuit", vms.address("self"), "send"],
        ["a mapped circuit", vms.address("self"), "map"],
      ] as const
    ) {
      const results: number[][] = [];
      for (let i = 0; i < REPEATS; i++) results.push(await run(`${address} ${how} ${BYTES} ${piece} ${bytes}`));
      results.sort((a, b) => a[0]! + a[1]! - b[0]! - b[1]!);
      const [sender, receiver] = results[REPEATS >> 1]!.map((value) => value / tick!) as [number, number];
      const cells = [sender, receiver, sender + receiver].map((value) => value.toFixed(3));
      const what = bytes === "touch" ? "written and read" : "not looked at";
      console.log(`| ${piece >> 10} KiB | ${what} | ${way} | ${cells.join(" | ")} |`);
    }
  }
}
