/**
 * The driver's end of a split virtqueue, in the fake guest's memory. Buffers are lent and got back by their head.
 *
 * @module
 */

import { bytesAt, eventfdAdd, type Memory } from "./native.ts";

/** Bytes of a queue's rings for `size` entries, each part on its own page. */
export function queueBytes(size: number): number {
  return page(16 * size) + page(6 + 2 * size) + page(6 + 8 * size);
}

function page(bytes: number): number {
  return Math.ceil(bytes / 4096) * 4096;
}

/** A part of a buffer: offset in guest memory, which is its guest-physical address as well. */
export interface Part {
  readonly guest: number;
  readonly bytes: number;
  readonly write?: boolean;
}

/** A virtqueue of a fake driver. */
export class FakeVirtqueue {
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  readonly #view: DataView;
  #free: number[];
  #available = 0;
  #seen = 0;
  readonly #lengths = new Map<number, number>();

  constructor(readonly memory: Memory, readonly base: number, readonly size: number, readonly kickFd: number) {
    this.desc = base;
    this.avail = base + page(16 * size);
    this.used = this.avail + page(6 + 2 * size);
    const bytes = bytesAt(memory, base, queueBytes(size));
    this.#view = new DataView(bytes.buffer);
    this.#free = Array.from({ length: size }, (_, i) => size - 1 - i);
  }

  /** Write a descriptor as it is; for malformed chains. */
  writeDescriptor(index: number, guest: bigint, bytes: number, flags: number, next: number): void {
    const at = index * 16;
    this.#view.setBigUint64(at, guest, true);
    this.#view.setUint32(at + 8, bytes, true);
    this.#view.setUint16(at + 12, flags, true);
    this.#view.setUint16(at + 14, next, true);
  }

  /** Lend a buffer of these parts; its head. */
  add(parts: readonly Part[]): number {
    const slots = parts.map(() => {
      const slot = this.#free.pop();
      if (slot === undefined) throw new Error("fake virtqueue is full");
      return slot;
    });
    parts.forEach((part, i) => {
      const next = slots[i + 1];
      this.writeDescriptor(
        slots[i]!,
        BigInt(part.guest),
        part.bytes,
        (part.write ? 2 : 0) | (next === undefined ? 0 : 1),
        next ?? 0,
      );
    });
    this.#lengths.set(slots[0]!, slots.length);
    this.addHead(slots[0]!);
    return slots[0]!;
  }

  /** Make a head available as it is. */
  addHead(head: number): void {
    const at = this.avail - this.base;
    this.#view.setUint16(at + 4 + 2 * (this.#available % this.size), head, true);
    this.#available = (this.#available + 1) & 0xffff;
    this.#view.setUint16(at + 2, this.#available, true);
  }

  /** Set the available index to something. */
  setAvailableIndex(index: number): void {
    this.#view.setUint16(this.avail - this.base + 2, index, true);
  }

  /** The next indices: of what is made available, and of what came back. */
  get indices(): { available: number; seen: number } {
    return { available: this.#available, seen: this.#seen };
  }

  /** Always kicks: a kick too many is allowed. */
  kick(): void {
    eventfdAdd(this.kickFd);
  }

  /** Buffers that came back, with the bytes written to each. */
  *take(): Generator<{ head: number; written: number }> {
    const at = this.used - this.base;
    while (this.#seen !== this.#view.getUint16(at + 2, true)) {
      const slot = at + 4 + 8 * (this.#seen % this.size);
      const head = this.#view.getUint32(slot, true);
      const written = this.#view.getUint32(slot + 4, true);
      this.#seen = (this.#seen + 1) & 0xffff;
      // Interrupt me for the next one.
      this.#view.setUint16(this.avail - this.base + 4 + 2 * this.size, this.#seen, true);
      for (let i = 0, next = head; i < (this.#lengths.get(head) ?? 0); i++) {
        this.#free.push(next);
        next = this.#view.getUint16(next * 16 + 14, true);
      }
      this.#lengths.delete(head);
      yield { head, written };
    }
  }
}
