/**
 * Figures as text: ratios first.
 *
 * @module
 */

import { advantage, judge, median, moreIsBetter, type Series, type Target } from "./figures.ts";

/** Is it ours? */
export function isOurs(who: string): boolean {
  return who.startsWith("csvn") || who.startsWith("ring");
}

/** Three digits or so. */
export function formatNumber(value: number): string {
  const digits = value >= 1000 ? 0 : value >= 100 ? 1 : value >= 1 ? 2 : 3;
  return value.toFixed(digits);
}

/** A ratio; where there is nothing to divide by, a dash. */
function formatRatio(value: number): string {
  return Number.isFinite(value) ? formatNumber(value) : "-";
}

/** ` 64 KiB`, or nothing. */
export function formatSize(bytes: number | undefined): string {
  if (bytes === undefined || bytes === 1) return "";
  if (bytes % 1024 !== 0) return ` ${bytes} bytes`;
  return bytes >= 1 << 20 ? ` ${bytes >> 20} MiB` : ` ${bytes >> 10} KiB`;
}

/** `8.31 GB/s (7.90-8.55)`: the median, and the least and most of all repeats. */
function spread({ values, unit }: Series): string {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return `${formatNumber(median(values))} ${unit} (${formatNumber(least)}-${formatNumber(most)})`;
}

/** A line for each measure: by how much ours is better than each of the others, then the figures. */
export function formatFigures(series: readonly Series[]): string {
  const lines: string[] = [];
  const groups = Map.groupBy(series, ({ part, measure, size }) => JSON.stringify([part, measure, size]));
  let part = "";
  for (const group of groups.values()) {
    const [first] = group;
    if (first!.part !== part) lines.push("", part = first!.part);
    lines.push(`  ${first!.measure}${formatSize(first!.size)}`);
    const own = group.filter(({ who }) => isOurs(who));
    for (const one of own) {
      const others = group.filter(({ who }) => !isOurs(who));
      const ratios = others.map((other) => `${formatRatio(advantage(one, other))} x ${other.who}`);
      lines.push(`    ${one.who.padEnd(16)} ${spread(one).padEnd(36)} ${ratios.join(", ")}`);
    }
    for (const one of group) if (!own.includes(one)) lines.push(`    ${one.who.padEnd(16)} ${spread(one)}`);
  }
  return lines.join("\n");
}

/** What is aimed at, and what came out. */
export function formatTargets(targets: readonly Target[], series: readonly Series[]): string {
  const lines = targets.flatMap((target) => {
    const verdict = judge(target, series);
    if (!verdict) return [];
    const { part, measure, versusMeasure } = target;
    const { versus } = verdict;
    const unit = series.find((s) => s.part === part && s.measure === measure && s.who === target.who)!.unit;
    const bound = moreIsBetter(unit) ? "at least" : "at most";
    const what = `${part}, ${measure}${formatSize(target.size)}: ${target.who}`;
    const of = versus === undefined ? ` ${unit}` : ` of ${versusMeasure ?? versus}`;
    return [
      `  ${verdict.met ? "met   " : "MISSED"} ${what} ${
        formatNumber(verdict.measured)
      }${of}, aimed at ${bound} ${target.ratio}`,
    ];
  });
  return lines.length > 0 ? ["", "what is aimed at", ...lines].join("\n") : "";
}
