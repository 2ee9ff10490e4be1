import type { ArenaMemory } from "../circuit/plane.ts";
import { checked } from "../errno.ts";
import { fileIdentity, OwnedDescriptor } from "./descriptor.ts";
import type { Janitor } from "./janitor.ts";
import type { Library } from "./library.ts";

/** A sealed memfd. Once others have it, a janitor does whatever takes the lock of its inode. */
export class MemfdArena implements ArenaMemory {
  readonly identity: string;
  readonly #descriptor: OwnedDescriptor;

  /** @param vms Those that will have it. @throws {SystemError} */
  constructor(
    readonly library: Library,
    readonly length: number,
    readonly vms: readonly string[],
    readonly janitor: Janitor,
  ) {
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

  wipe(offset: number, length: number, keep: number): Promise<number> {
    return this.janitor.wipe(this, offset, length, keep);
  }

  pages(): number {
    return checked("count an arena's pages", this.library.symbols.csvn_arena_pages(this.fd));
  }

  [Symbol.dispose](): void {
    // Its number is given to others when it is closed, and may be on its way to the janitor.
    const close = () => this.#descriptor.closeApart();
    this.janitor.leave(this).then(close, close);
  }
}
