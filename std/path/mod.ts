// deno-lint-ignore-file
import * as std from "npm:deno-std@1.4.0/path/mod.js";

export const basename: (path: string, suffix?: string) => string = std.basename;
export const dirname: (path: string) => string = std.dirname;
export const fromFileUrl: (url: string | URL) => string = std.fromFileUrl;
export const join: (...paths: string[]) => string = std.join;
export const relative: (from: string, to: string) => string = std.relative;
export const resolve: (...paths: string[]) => string = std.resolve;
