/**
 * What is measured between two ends, by programs that know nothing of csvn; and by `talk` (guest/bench/talk), which speaks vsock and
 * mapped circuits as well.
 *
 * @module
 */

import type { Guest } from "../../tools/testbed/guest.ts";
import { BenchFailure } from "./host.ts";
import type { Route } from "./network.ts";
import { parseIperf, parseRedis, parseWrk } from "./output.ts";

const BULK_PIECE = 65_536;

/** A workload's figures, without who and where. */
export interface Measured {
  readonly measure: string;
  readonly value: number;
  readonly unit: string;
}

/** What a workload works with. */
export interface Bench {
  readonly client: Guest;
  readonly route: Route;
  /** Seconds of each measurement. */
  readonly seconds: number;
  /** Start a server for one run of iperf3, and wait until it listens. */
  startIperf(): Promise<void>;
}

async function ask(bench: Bench, command: string): Promise<string> {
  const { code, stdout, stderr } = await bench.client.run(command, { timeoutMs: (bench.seconds + 60) * 1000 });
  // iperf3 says what went wrong in its report.
  if (code !== 0 && !stdout.includes('"error"')) throw new BenchFailure(`${command}: ${(stderr || stdout).trim()}`);
  return stdout;
}

async function talk(bench: Bench, what: string, ...args: (string | number)[]): Promise<Record<string, number>> {
  return JSON.parse(await ask(bench, ["talk", what, bench.route.talk, ...args].join(" ")));
}

async function* iperf(bench: Bench, measure: string, args: string): AsyncIterable<Measured> {
  const [address, port] = bench.route.ip!("iperf");
  await bench.startIperf();
  const text = await ask(bench, `iperf3 --client ${address} --port ${port} --time ${bench.seconds} --json ${args}`);
  const { received, lost } = parseIperf(text);
  yield { measure, value: received / 1e9, unit: "Gb/s" };
  if (lost !== undefined) yield { measure: `${measure}, lost`, value: lost, unit: "%" };
}

async function* wrk(bench: Bench, measure: string, headers: string): AsyncIterable<Measured> {
  const [address, port] = bench.route.ip!("http");
  const command = `wrk --threads 2 --connections 16 --duration ${bench.seconds}s ${headers} http://${address}:${port}/`;
  yield { measure, value: parseWrk(await ask(bench, command)), unit: "1/s" };
}

async function* redis(bench: Bench): AsyncIterable<Measured> {
  const [address, port] = bench.route.ip!("redis");
  const requests = Math.ceil(bench.seconds * 1500);
  const text = await ask(bench, `redis-benchmark -h ${address} -p ${port} -t get -c 16 -n ${requests} --csv`);
  yield { measure: "redis GET, 16 clients", value: parseRedis(text, "GET"), unit: "1/s" };
}

/** Only over IP. */
export async function* ipWorkloads(bench: Bench): AsyncIterable<Measured> {
  for (const streams of [1, 4]) {
    const what = `iperf3, ${streams} stream${streams > 1 ? "s" : ""}`;
    yield* iperf(bench, what, `--parallel ${streams}`);
    yield* iperf(bench, `${what}, back`, `--parallel ${streams} --reverse`);
  }
  yield* wrk(bench, "HTTP, keep-alive", "");
  yield* wrk(bench, "HTTP, a connection each", "--header 'Connection: close'");
  yield* redis(bench);
  for (const [bytes, size] of [[1400, "1,400 bytes"], [8192, "8 KiB"]] as const) {
    yield* iperf(bench, `UDP, ${size}`, `--udp --bitrate 0 --length ${bytes}`);
    yield* iperf(bench, `UDP, ${size}, paced`, `--udp --bitrate 100M --length ${bytes}`);
  }
}

/** Until what is emulated was translated, and what is compiled as it runs was compiled: the same for all, and not measured. */
export async function warmUp(bench: Bench): Promise<void> {
  await talk(bench, "rate", 16, bench.seconds);
  await talk(bench, "round-trips", bench.seconds / 2);
}

/** Over everything that has streams. */
export async function* streamWorkloads(bench: Bench, mapped: boolean): AsyncIterable<Measured & { way?: string }> {
  const { p50, p99 } = await talk(bench, "round-trips", bench.seconds) as { p50: number; p99: number };
  yield { measure: "round trip, median", value: p50 / 1000, unit: "us" };
  yield { measure: "round trip, 99 %", value: p99 / 1000, unit: "us" };
  for (const [atOnce, measure] of [[1, "connections, one at a time"], [16, "connections, 16 at once"]] as const) {
    const { per_second } = await talk(bench, "rate", atOnce, bench.seconds);
    yield { measure, value: per_second!, unit: "1/s" };
  }
  const piece = bench.route.piece ?? BULK_PIECE;
  for (const [how, measure] of [["pass", "bulk"], ["touch", "bulk, written and read"]] as const) {
    const { per_second } = await talk(bench, "stream", bench.seconds, piece, how);
    yield { measure, value: per_second! * 8 / 1e9, unit: "Gb/s" };
  }
  if (mapped) {
    const { per_second } = await talk(bench, "stream", bench.seconds, piece, "map");
    yield { measure: "bulk, written and read", way: "mapped", value: per_second! * 8 / 1e9, unit: "Gb/s" };
  }
}
