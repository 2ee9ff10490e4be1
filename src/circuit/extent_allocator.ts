/**
 * First-fit allocation of extents from a range, all in multiples of an alignment. Used for a VM's window, of which few and large
 * pieces are taken.
 *
 * @module
 */

interface Extent {
  offset: number;
  length: number;
}

/** Free extents of a range. */
export class ExtentAllocator {
  readonly #free: Extent[];

  /**
   * @param length Bytes of the range; at most 2^53.
   * @param alignment Bytes; every extent begins at a multiple of it, and takes a multiple of it.
   */
  constructor(readonly length: number, readonly alignment: number) {
    this.#free = [{ offset: 0, length: length - length % alignment }];
  }

  /** Take `length` bytes; their offset, or undefined when no free extent is large enough. */
  take(length: number): number | undefined {
    const need = Math.ceil(length / this.alignment) * this.alignment;
    const index = this.#free.findIndex((extent) => extent.length >= need);
    const extent = this.#free[index];
    if (!extent) return undefined;
    const offset = extent.offset;
    extent.offset += need;
    extent.length -= need;
    if (extent.length === 0) this.#free.splice(index, 1);
    return offset;
  }

  /** Give back what {@linkcode take} gave. */
  give(offset: number, length: number): void {
    const size = Math.ceil(length / this.alignment) * this.alignment;
    const index = this.#free.findIndex((extent) => extent.offset > offset);
    const at = index < 0 ? this.#free.length : index;
    const before = this.#free[at - 1];
    const after = this.#free[at];
    const joinsBefore = before !== undefined && before.offset + before.length === offset;
    const joinsAfter = after !== undefined && offset + size === after.offset;
    if (joinsBefore && joinsAfter) {
      before.length += size + after.length;
      this.#free.splice(at, 1);
    } else if (joinsBefore) {
      before.length += size;
    } else if (joinsAfter) {
      after.offset = offset;
      after.length += size;
    } else {
      this.#free.splice(at, 0, { offset, length: size });
    }
  }

  /** Bytes that are free. */
  get free(): number {
    return this.#free.reduce((sum, extent) => sum + extent.length, 0);
  }
}
