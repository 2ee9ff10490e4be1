import { SystemError } from "../errno.ts";
import type { Descriptor } from "../vhost/transport.ts";
import { Command } from "./abi.ts";
import type { Library } from "./library.ts";
import type { Port } from "./port.ts";

/** Device and inode of a descriptor's file, as text. @throws {SystemError} */
export function fileIdentity(library: Library, fd: number): string {
  const out = new BigUint64Array(2);
  const rc = library.symbols.csvn_fd_identity(fd, new Uint8Array(out.buffer));
  if (rc < 0) throw new SystemError(`look at descriptor ${fd}`, -rc);
  return `${out[0]}:${out[1]}`;
}

/** A descriptor that this process owns. */
export class OwnedDescriptor implements Disposable {
  #fd: number;

  constructor(readonly library: Library, fd: number) {
    this.#fd = fd;
  }

  /** Its number. @throws {Error} when it was closed. */
  get fd(): number {
    if (this.#fd < 0) throw new Error("descriptor was closed");
    return this.#fd;
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) this.library.symbols.csvn_fd_close(this.#fd);
    this.#fd = -1;
  }

  /** The same, for a file of which much may be given back with its last descriptor: that keeps nobody. */
  closeApart(): void {
    if (this.#fd >= 0) this.library.symbols.csvn_fd_close_apart(this.#fd);
    this.#fd = -1;
  }
}

/** A descriptor that a front-end has sent, which its port has. */
export class Token implements Descriptor {
  #token: number;

  /** @param token The port's number for it. */
  constructor(readonly port: Port, token: number, readonly file: string) {
    this.#token = token;
  }

  get fd(): number {
    if (this.#token < 0) throw new Error("descriptor was closed or handed over");
    return this.#token;
  }

  release(): number {
    const token = this.fd;
    this.#token = -1;
    return token;
  }

  identity(): string {
    return this.file;
  }

  [Symbol.dispose](): void {
    if (this.#token >= 0) this.port.command(Command.TOKEN_CLOSE, this.#token);
    this.#token = -1;
  }
}
