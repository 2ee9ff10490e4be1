import type { ArenaMemory } from "../circuit/plane.ts";
import { checked } from "../errno.ts";
import { fileIdentity, OwnedDescriptor } from "./descriptor.ts";
import type { Library } from "./library.ts";

/** A sealed memfd. */
export class MemfdArena implements ArenaMemory {
  readonly identity: string;
  readonly #descriptor: OwnedDescriptor;

  /** @throws {SystemError} */
  constructor(readonly library: Library, readonly length: number) {
    const fd = checked(`make an arena of ${length} bytes`, library.symbols.csvn_arena_create(BigInt(length)));
    this.#descriptor = new OwnedDescriptor(library, fd);
    this.identity = fileIdentity(library, fd);
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  stamp(bytes: Uint8Array<ArrayBuffer>): void {
    checked("write an arena's header", this.library.symbols.csvn_arena_stamp(this.fd, bytes, bytes.length));
  }

  punch(offset: number, length: number): void {
    checked(
      "give an arena's pages back",
      this.library.symbols.csvn_arena_punch(this.fd, BigInt(offset), BigInt(length)),
    );
  }

  wipe(offset: number, length: number, keep: number): number {
    return checked(
      "zero an arena's pages",
      this.library.symbols.csvn_arena_wipe(this.fd, BigInt(offset), BigInt(length), keep),
    );
  }

  pages(): number {
    return checked("count an arena's pages", this.library.symbols.csvn_arena_pages(this.fd));
  }

  [Symbol.dispose](): void {
    this.#descriptor[Symbol.dispose]();
  }
}
