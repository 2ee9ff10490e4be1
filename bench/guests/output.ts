/**
 * What the programs of a guests' bench print, read.
 *
 * @module
 */

import { BenchFailure } from "./host.ts";

/** The end of an `iperf3 --json` report: what has arrived. */
export interface IperfResult {
  /** Bits per second, as the receiver counted them. */
  readonly received: number;
  /** Datagrams sent that did not arrive, in percent; undefined for a stream. */
  readonly lost?: number;
}

/** Read `iperf3 --json`; throws {@link BenchFailure} with its own message when it failed. */
export function parseIperf(text: string): IperfResult {
  let report: {
    error?: string;
    end?: { sum_received?: { bits_per_second?: number; lost_percent?: number; packets?: number } };
  };
  try {
    report = JSON.parse(text);
  } catch {
    throw new BenchFailure(`iperf3 printed no JSON: ${text.slice(0, 200)}`);
  }
  if (report.error !== undefined) throw new BenchFailure(`iperf3: ${report.error}`);
  const { bits_per_second, lost_percent } = report.end?.sum_received ?? {};
  if (bits_per_second === undefined) throw new BenchFailure("iperf3's report has no end.sum_received");
  return { received: bits_per_second, ...(lost_percent !== undefined && { lost: lost_percent }) };
}

/** Requests per second that `wrk` counted; errors of sockets or statuses are failures. */
export function parseWrk(text: string): number {
  const errors = /^\s*(Socket errors: .*|Non-2xx or 3xx responses: .*)$/m.exec(text)?.[1];
  if (errors !== undefined) throw new BenchFailure(`wrk: ${errors}`);
  const rate = /^Requests\/sec:\s+([\d.]+)$/m.exec(text)?.[1];
  if (rate === undefined) throw new BenchFailure(`wrk printed no rate: ${text.slice(0, 200)}`);
  return Number(rate);
}

/** Requests per second of a line of `redis-benchmark --csv`. */
export function parseRedis(text: string, command: string): number {
  const rate = new RegExp(`^"${command}","([\\d.]+)"`, "m").exec(text)?.[1];
  if (rate === undefined) throw new BenchFailure(`redis-benchmark printed no ${command}: ${text.slice(0, 200)}`);
  return Number(rate);
}
