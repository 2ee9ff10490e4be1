import { assertEquals, assertMatch } from "@std/assert";
import { advantage, collect, type Figure, judge, median, type Series } from "../../../bench/figures.ts";
import { formatFigures, formatTargets } from "../../../bench/table.ts";
import { drawChart } from "../../../bench/chart.ts";
import { targets } from "../../../bench/targets.ts";

const figure = (who: string, value: number, unit = "GB/s", size?: number): Figure => ({
  part: "native",
  measure: "copied",
  who,
  ...(size !== undefined && { size }),
  value,
  unit,
});

Deno.test("median() is the middle", () => {
  assertEquals([median([3]), median([3, 1, 2]), median([4, 1, 3, 2])], [3, 2, 2.5]);
});

Deno.test("collect() puts repeats of a figure together, and different sizes apart", () => {
  const series = collect([
    figure("ring", 1, "GB/s", 64),
    figure("TCP", 2),
    figure("ring", 3, "GB/s", 64),
    figure("ring", 5),
  ]);
  assertEquals(series.map(({ who, size, values }) => [who, size, values]), [
    ["ring", 64, [1, 3]],
    ["TCP", undefined, [2]],
    ["ring", undefined, [5]],
  ]);
});

Deno.test("advantage() is above 1 for who is better, whether more or less is", () => {
  const [rates, times] = ["GB/s", "us"].map((unit) => collect([figure("a", 2, unit), figure("b", 1, unit)])) as [
    Series[],
    Series[],
  ];
  assertEquals([advantage(rates[0]!, rates[1]!), advantage(times[0]!, times[1]!)], [2, 0.5]);
});

Deno.test("judge() holds a figure against another, or a value", () => {
  const target = { part: "native", measure: "copied", who: "ring", versus: "TCP", ratio: 2 };
  const measured = (ring: number, tcp: number, unit: string): unknown => {
    const verdict = judge(target, collect([figure("ring", ring, unit), figure("TCP", tcp, unit)]));
    return [verdict?.measured, verdict?.met];
  };
  assertEquals([measured(4, 2, "GB/s"), measured(3, 2, "GB/s")], [[2, true], [1.5, false]]);
  assertEquals([measured(4, 2, "us"), measured(5, 2, "us")], [[2, true], [2.5, false]]);
  assertEquals(judge(target, collect([figure("ring", 1)])), undefined);
  assertEquals(
    judge({ part: "native", measure: "copied", who: "ring", ratio: 1 }, collect([figure("ring", 1, "us")]))?.met,
    true,
  );
});

Deno.test("judge() takes the best of several others, of those that were measured", () => {
  const target = { part: "native", measure: "copied", who: "ring", versus: ["TCP", "pipe", "vsock"], ratio: 2 };
  const rates = collect([figure("ring", 8, "1/s"), figure("TCP", 2, "1/s"), figure("pipe", 5, "1/s")]);
  const times = collect([figure("ring", 8, "us"), figure("TCP", 2, "us"), figure("pipe", 5, "us")]);
  const [rate, time] = [judge(target, rates), judge(target, times)];
  assertEquals([rate?.versus, rate?.measured, rate?.met], ["pipe", 1.6, false]);
  assertEquals([time?.versus, time?.measured, time?.met], ["TCP", 4, false]);
  assertEquals(judge(target, collect([figure("ring", 8)])), undefined);
});

Deno.test("formatFigures() and formatTargets() say by how much, and what was missed", () => {
  const series = collect([
    figure("ring", 8, "GB/s", 65_536),
    figure("ring", 10, "GB/s", 65_536),
    figure("TCP", 4.5, "GB/s", 65_536),
  ]);
  assertEquals(
    formatFigures(series),
    `
native
  copied 64 KiB
    ring             9.00 GB/s (8.00-10.00)               2.00 x TCP
    TCP              4.50 GB/s (4.50-4.50)`,
  );
  assertEquals(
    formatTargets(targets, series),
    `
what is aimed at
  MISSED native, copied 64 KiB: ring 2.00 of TCP, aimed at at least 2.5`,
  );
});

Deno.test("drawChart() draws a bar for each, the longest for the most", () => {
  const series = collect([figure("ring", 8, "GB/s", 65_536), figure("T<P", 4, "GB/s", 65_536)]);
  const svg = drawChart({ machine: { cores: 2, cpu: "x", kernel: "y" }, repeats: { native: 1 }, series });
  assertEquals([...svg.matchAll(/<rect x="150" y="\d+" width="([\d.]+)"/g)].map(([, width]) => Number(width)), [
    480,
    240,
  ]);
  assertMatch(svg, /T&lt;P/);
  assertEquals(drawChart({ machine: {}, repeats: { native: 1 }, series: [] }).includes("<rect x="), false);
});
