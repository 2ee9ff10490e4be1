// deno-lint-ignore-file
import * as std from "npm:deno-std@1.4.0/assert/mod.js";

/** Thrown by every failing assertion. */
export class AssertionError extends Error {}
type Ctor<T extends Error = Error> = new (...args: any[]) => T;

export const assert: (value: unknown, msg?: string) => asserts value = std.assert;
export const assertEquals: <T>(actual: T, expected: T, msg?: string) => void = std.assertEquals;
export const assertNotEquals: <T>(actual: T, expected: T, msg?: string) => void = std.assertNotEquals;
export const assertStrictEquals: <T>(actual: unknown, expected: T, msg?: string) => asserts actual is T =
  std.assertStrictEquals;
export const assertStringIncludes: (actual: string, expected: string, msg?: string) => void = std.assertStringIncludes;
export const assertMatch: (actual: string, expected: RegExp, msg?: string) => void = std.assertMatch;
export const assertThrows: <T extends Error = Error>(
  fn: () => unknown,
  errorClass?: Ctor<T>,
  msgIncludes?: string,
) => T = std.assertThrows;
export const assertRejects: <T extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClass?: Ctor<T>,
  msgIncludes?: string,
) => Promise<T> = std.assertRejects;
export const assertExists: <T>(actual: T, msg?: string) => asserts actual is NonNullable<T> = std.assertExists;
export const assertGreater: <T>(actual: T, expected: T, msg?: string) => void = std.assertGreater;
export const assertGreaterOrEqual: <T>(actual: T, expected: T, msg?: string) => void = std.assertGreaterOrEqual;
export const assertLess: <T>(actual: T, expected: T, msg?: string) => void = std.assertLess;
export const assertInstanceOf: <T extends Ctor<any>>(
  actual: unknown,
  expected: T,
  msg?: string,
) => asserts actual is InstanceType<T> = std.assertInstanceOf;
export const fail: (msg?: string) => never = std.fail;
