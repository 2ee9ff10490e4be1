import type { ArenaMemory } from "../circuit/plane.ts";
import { SystemError } from "../errno.ts";
import { fileIdentity, OwnedDescriptor } from "./descriptor.ts";
import type { Library } from "./library.ts";

/** A sealed memfd. */
export class MemfdArena implements ArenaMemory {
  readonly identity: string;
  readonly #descriptor: OwnedDescriptor;

  /** @throws {SystemError} */
  constructor(readonly library: Library, readonly length: number) {
    const fd = library.symbols.csvn_arena_create(BigInt(length));
    if (fd < 0) throw new SystemError(`make an arena of ${length} bytes`, -fd);
    this.#descriptor = new OwnedDescriptor(library, fd);
    this.identity = fileIdentity(library, fd);
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  stamp(bytes: Uint8Array<ArrayBuffer>): void {
    this.#check("write an arena's header", this.library.symbols.csvn_arena_stamp(this.fd, bytes, bytes.length));
  }

  punch(offset: number, length: number): void {
    this.#check(
      "give an arena's pages back",
      this.library.symbols.csvn_arena_punch(this.fd, BigInt(offset), BigInt(length)),
    );
  }

  pages(): number {
    return this.#check("count an arena's pages", this.library.symbols.csvn_arena_pages(this.fd));
  }

  [Symbol.dispose](): void {
    this.#descriptor[Symbol.dispose]();
  }

  #check(action: string, rc: number): number {
    if (rc < 0) throw new SystemError(action, -rc);
    return rc;
  }
}
