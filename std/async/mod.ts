// deno-lint-ignore-file
// Not mod.js: it loads a module that the npm package lacks.
import { deadline as stdDeadline } from "npm:deno-std@1.4.0/async/deadline.js";
import { delay as stdDelay } from "npm:deno-std@1.4.0/async/delay.js";

export const delay: (ms: number, options?: { signal?: AbortSignal; persistent?: boolean }) => Promise<void> = stdDelay;
export const deadline: <T>(p: Promise<T>, ms: number, options?: { signal?: AbortSignal }) => Promise<T> = stdDeadline;
