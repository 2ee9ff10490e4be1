/**
 * A chart of a result file: `deno task bench:chart RESULTS.json CHART.svg`. Bars of the medians, with the least and the most of all repeats as a line.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program's own output

import { median, moreIsBetter, type Series } from "./figures.ts";
import { GUEST_TO_GUEST, GUEST_TO_HOST } from "./guests/parts.ts";
import { formatNumber, formatSize, isOurs } from "./table.ts";

const WIDTH = 760;
const LABEL = 150;
const BAR = 18;
const GAP = 6;
const TITLE = 34;
const ROOM = 130; // for the value behind the longest bar

interface Results {
  readonly machine: Readonly<Record<string, string | number>>;
  readonly repeats: Readonly<Record<string, number>>;
  readonly series: readonly Series[];
}

/** What is drawn: a measure, and its size. */
export const DRAWN: readonly (readonly [part: string, measure: string, size?: number])[] = [
  [GUEST_TO_GUEST, "iperf3, 1 stream"],
  [GUEST_TO_GUEST, "bulk, written and read"],
  [GUEST_TO_GUEST, "round trip, median"],
  [GUEST_TO_GUEST, "connections, one at a time"],
  [GUEST_TO_GUEST, "connections, 16 at once"],
  [GUEST_TO_GUEST, "HTTP, keep-alive"],
  [GUEST_TO_GUEST, "HTTP, a connection each"],
  [GUEST_TO_GUEST, "UDP, 8 KiB"],
  [GUEST_TO_HOST, "iperf3, 1 stream"],
  [GUEST_TO_HOST, "round trip, median"],
  [GUEST_TO_HOST, "connections, 16 at once"],
  ["native", "copied", 65_536],
  ["native", "read", 65_536],
  ["native", "round trip, sleeping", 1],
  ["native", "datagrams", 1400],
  ["pump", "64 KiB writes"],
  ["pump", "round trip"],
  ["setup", "64 at once"],
];

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}

function bar(series: Series, y: number, scale: number): string {
  const { who, values, unit } = series;
  const [middle, least, most] = [median(values), Math.min(...values), Math.max(...values)];
  const at = (value: number): string => (LABEL + value * scale).toFixed(1);
  const line = y + BAR / 2;
  return [
    `<text x="${LABEL - 8}" y="${y + 13}" text-anchor="end">${escape(who)}</text>`,
    `<rect x="${LABEL}" y="${y}" width="${(middle * scale).toFixed(1)}" height="${BAR}" fill="${
      isOurs(who) ? "#2a6f4e" : "#b9c0c7"
    }"/>`,
    `<line x1="${at(least)}" x2="${at(most)}" y1="${line}" y2="${line}" stroke="#333"/>`,
    `<text x="${(LABEL + most * scale + 6).toFixed(1)}" y="${y + 13}">${formatNumber(middle)} ${escape(unit)}</text>`,
  ].join("\n");
}

/** The chart of results, as SVG. */
export function drawChart({ machine, repeats, series }: Results): string {
  const parts: string[] = [];
  let y = 10;
  for (const [part, measure, size] of DRAWN) {
    const group = series.filter((s) => s.part === part && s.measure === measure && s.size === size);
    if (group.length === 0) continue;
    const better = moreIsBetter(group[0]!.unit) ? "more is better" : "less is better";
    parts.push(
      `<text x="10" y="${y + 18}" font-weight="bold">${
        escape(`${part}: ${measure}${formatSize(size)}`)
      } (${better})</text>`,
    );
    y += TITLE - 8;
    const scale = (WIDTH - LABEL - ROOM) / Math.max(...group.flatMap(({ values }) => values));
    for (const each of group) {
      parts.push(bar(each, y, scale));
      y += BAR + GAP;
    }
    y += 8;
  }
  const counts = Object.values(repeats);
  const [least, greatest] = [Math.min(...counts), Math.max(...counts)];
  const most = least === greatest ? `${least}` : `${least} to ${greatest}`;
  const note =
    `medians of ${most} repeats, in turns; lines from the least to the most; ${machine.cores} cores of ${machine.cpu}, Linux ${machine.kernel}`;
  parts.push(`<text x="10" y="${y + 14}" fill="#666">${escape(note)}</text>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${
    y + 26
  }" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
${parts.join("\n")}
</svg>
`;
}

if (import.meta.main) {
  const [from, to] = Deno.args;
  if (from === undefined || to === undefined) {
    console.error("bench: a result file and the chart's path are expected");
    Deno.exit(2);
  }
  await Deno.writeTextFile(to, drawChart(JSON.parse(await Deno.readTextFile(from))));
}
