// deno-lint-ignore-file
// Not mod.js: in this release it imports a path that the package does not have.
import * as deadlines from "npm:deno-std@1.4.0/async/deadline.js";
import * as delays from "npm:deno-std@1.4.0/async/delay.js";

export const delay: (ms: number, options?: { signal?: AbortSignal; persistent?: boolean }) => Promise<void> =
  delays.delay;
export const deadline: <T>(p: Promise<T>, ms: number, options?: { signal?: AbortSignal }) => Promise<T> =
  deadlines.deadline;
