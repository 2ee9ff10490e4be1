/**
 * Linux errno values, by name: what the helper library returns and what guests are told.
 *
 * Source: asm-generic/errno-base.h and errno.h of Linux.
 *
 * @module
 */

/** The errno values that csvn uses, by name. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  EPIPE: 32,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOTSOCK: 88,
  EMSGSIZE: 90,
  EPROTO: 71,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ECONNRESET: 104,
  ENOBUFS: 105,
  ESHUTDOWN: 108,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTUNREACH: 113,
  ESTALE: 116,
  ECANCELED: 125,
  E2BIG: 7,
  ENXIO: 6,
} as const;

/** A name in {@linkcode Errno}. */
export type ErrnoName = keyof typeof Errno;

const names = new Map<number, string>(Object.entries(Errno).map(([name, value]) => [value, name]));

/**
 * The name of an errno value.
 *
 * @param errno A positive errno value.
 * @returns Its name, or `errno N` where csvn has no name for it.
 *
 * @example
 * ```ts
 * import { errnoName } from "./errno.ts";
 * import { assertEquals } from "@std/assert";
 * assertEquals(errnoName(111), "ECONNREFUSED");
 * ```
 */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}

/** An error of the operating system or the helper library: what was being done to what, and the errno. */
export class SystemError extends Error {
  override readonly name = "SystemError";

  /**
   * @param action What was being done to what, such as "listen on /run/csvn.sock".
   * @param errno A positive errno value.
   */
  constructor(readonly action: string, readonly errno: number) {
    super(`cannot ${action}: ${errnoName(errno)}`);
  }

  /** The errno's name. */
  get code(): string {
    return errnoName(this.errno);
  }
}

/**
 * The result of a call that returns a negative errno when it fails.
 *
 * @param action What is being done to what.
 * @throws {SystemError}
 */
export function checked(action: string, result: number): number {
  if (result < 0) throw new SystemError(action, -result);
  return result;
}
