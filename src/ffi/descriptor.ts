import { SystemError } from "../errno.ts";
import type { Descriptor } from "../vhost/transport.ts";
import type { Library } from "./library.ts";

/** Device and inode of a descriptor's file, as text. @throws {SystemError} */
export function fileIdentity(library: Library, fd: number): string {
  const out = new BigUint64Array(2);
  const rc = library.symbols.csvn_fd_identity(fd, new Uint8Array(out.buffer));
  if (rc < 0) throw new SystemError(`look at descriptor ${fd}`, -rc);
  return `${out[0]}:${out[1]}`;
}

/** A descriptor that this process owns. */
export class OwnedDescriptor implements Descriptor {
  #fd: number;

  constructor(readonly library: Library, fd: number) {
    this.#fd = fd;
  }

  get fd(): number {
    if (this.#fd < 0) throw new Error("descriptor was closed or handed over");
    return this.#fd;
  }

  release(): number {
    const fd = this.fd;
    this.#fd = -1;
    return fd;
  }

  identity(): string {
    return fileIdentity(this.library, this.fd);
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) this.library.symbols.csvn_fd_close(this.#fd);
    this.#fd = -1;
  }
}
