/** Numbers that are given out, the lowest free ones first: memory is used by the page. */
export class Places {
  readonly #free: number[] = [];
  #fresh = 0;
  /** How many are out. */
  used = 0;

  constructor(readonly limit: number, readonly emptied: () => void = () => {}) {}

  /** A free one; undefined when all are out. */
  take(): number | undefined {
    const place = this.#free.pop() ?? (this.#fresh < this.limit ? this.#fresh++ : undefined);
    if (place !== undefined) this.used++;
    return place;
  }

  give(place: number): void {
    this.#free.push(place);
    if (--this.used === 0) this.emptied();
  }
}
