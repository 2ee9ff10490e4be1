// deno-lint-ignore-file
import * as std from "npm:deno-std@1.4.0/async/mod.js";

export const delay: (ms: number, options?: { signal?: AbortSignal; persistent?: boolean }) => Promise<void> = std.delay;
export const deadline: <T>(p: Promise<T>, ms: number, options?: { signal?: AbortSignal }) => Promise<T> = std.deadline;
