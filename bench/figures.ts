/**
 * Figures: what was measured, several times, and how they compare.
 *
 * @module
 */

/** One figure of one repeat. */
export interface Figure {
  readonly part: string;
  readonly measure: string;
  readonly who: string;
  /** Bytes of a write, where that matters. */
  readonly size?: number | undefined;
  readonly value: number;
  readonly unit: string;
}

/** All repeats of a figure. */
export interface Series extends Omit<Figure, "value"> {
  readonly values: readonly number[];
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Figures of several repeats, together; in the order in which they came first. */
export function collect(figures: readonly Figure[]): Series[] {
  const series = new Map<string, Series & { values: number[] }>();
  for (const { value, ...what } of figures) {
    const key = JSON.stringify([what.part, what.measure, what.who, what.size]);
    const known = series.get(key);
    if (known) known.values.push(value);
    else series.set(key, { ...what, values: [value] });
  }
  return [...series.values()];
}

/** Is more better? */
export function moreIsBetter(unit: string): boolean {
  return unit.endsWith("/s");
}

/** How much better the one is than the other: above 1, it is. */
export function advantage(one: Series, other: Series): number {
  const [a, b] = [median(one.values), median(other.values)];
  return moreIsBetter(one.unit) ? a / b : b / a;
}

/** What is aimed at: one against another, at least so many times as good. */
export interface Target {
  readonly part: string;
  readonly measure: string;
  readonly size?: number;
  readonly who: string;
  /** Whom it is compared with, in the same measure unless another is said: the best of several; undefined: with a value. */
  readonly versus?: string | readonly string[];
  readonly versusMeasure?: string;
  readonly versusSize?: number;
  /** Of the other's figure, or the value itself; where less is better, at most. */
  readonly ratio: number;
}

/** A target, and what was measured. */
export interface Verdict {
  readonly target: Target;
  /** Who it was compared with: of several, the best. */
  readonly versus?: string | undefined;
  readonly measured: number;
  readonly met: boolean;
}

/** Hold figures against a target; undefined where they were not measured. */
export function judge(target: Target, series: readonly Series[]): Verdict | undefined {
  const find = (measure: string, who: string, size: number | undefined): Series | undefined =>
    series.find((s) => s.part === target.part && s.measure === measure && s.who === who && s.size === size);
  const own = find(target.measure, target.who, target.size);
  const others = target.versus === undefined ? [] : [target.versus].flat();
  const found = others.flatMap((who) => {
    const other = find(target.versusMeasure ?? target.measure, who, target.versusSize ?? target.size);
    return other ? [other] : [];
  });
  if (!own || (target.versus !== undefined && found.length === 0)) return undefined;
  const best = found.reduce<Series | undefined>((a, b) => a && advantage(a, b) >= 1 ? a : b, undefined);
  const measured = median(own.values) / (best ? median(best.values) : 1);
  const met = moreIsBetter(own.unit) ? measured >= target.ratio : measured <= target.ratio;
  return { target, versus: best?.who, measured, met };
}
