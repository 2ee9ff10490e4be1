/**
 * Two real guests, the same image and programs, over circuits and over what users have today; and a guest with its host.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import { ensureTestbed } from "../../tools/testbed/prepare.ts";
import { buildProgram } from "../../tools/testbed/program.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import type { Figure } from "../figures.ts";
import { BenchFailure } from "./host.ts";
import { type Network, type NetworkKind, PORTS } from "./network.ts";
import { NETWORKS } from "./networks.ts";
import { GUEST_TO_GUEST, GUEST_TO_HOST } from "./parts.ts";
import { installTalk, iperfServer, serveInGuest, serveOnHost } from "./servers.ts";
import { type Bench, ipWorkloads, streamWorkloads, warmUp } from "./workloads.ts";

/** The networks' names. */
export function networkNames(): string[] {
  return NETWORKS.map(({ who }) => who);
}

/** What the guests are made of. */
export async function guestVersions(): Promise<{ qemu: string; guests: string }> {
  const { qemu, accel, kernel } = await ensureTestbed({ progress: stderrProgress });
  return { qemu: `${qemu.version}, ${accel}`, guests: `Linux ${kernel.release}, 2 CPUs, 512 MiB` };
}

async function* figures(part: string, who: string, bench: Bench, mapped: boolean): AsyncIterable<Figure> {
  await warmUp(bench);
  for await (const { way, ...measured } of streamWorkloads(bench, mapped)) {
    yield { part, who: way === undefined ? who : `${who} ${way}`, ...measured };
  }
  if (!bench.route.ip) return;
  for await (const measured of ipWorkloads(bench)) yield { part, who, ...measured };
}

async function untilIperfListens(run: (command: string) => Promise<{ stdout: string }>): Promise<void> {
  for (const end = Date.now() + 10_000; Date.now() < end;) {
    if ((await run("ss -Hltn")).stdout.includes(`:${PORTS.iperf} `)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new BenchFailure("iperf3's server does not listen");
}

async function* measureNetwork(who: string, network: Network, talk: string, seconds: number): AsyncIterable<Figure> {
  const { client, server, host, toGuest, toHost, mapped = false } = network;
  const bytes = await Deno.readFile(talk);
  for (const guest of new Set([client, server])) await installTalk(guest, bytes);
  await serveInGuest(server, toGuest);
  // A server whose client has given up would keep the next one from its port.
  let stop: (() => Promise<void>) | undefined;
  yield* figures(GUEST_TO_GUEST, who, {
    client,
    route: toGuest,
    seconds,
    async startIperf(): Promise<void> {
      await stop?.();
      const command = server.spawn(`exec ${iperfServer().join(" ")} >/tmp/iperf3.log 2>&1`, { stdin: false });
      stop = async (): Promise<void> => {
        await command.kill();
        await command.status;
      };
      await untilIperfListens((command) => server.run(command));
    },
  }, mapped);
  if (!toHost) return;
  await stop?.();
  stop = undefined;
  // It has no part in this: its servers' timers would be the host's work.
  await server.qmp("stop");
  await serveOnHost(host, toHost, talk);
  yield* figures(GUEST_TO_HOST, who, {
    client,
    route: toHost,
    seconds,
    async startIperf(): Promise<void> {
      await stop?.();
      stop = host.start("iperf3", iperfServer());
      await untilIperfListens((command) => host.run(command));
    },
  }, false);
}

async function* measureKind({ who, make }: NetworkKind, talk: string, seconds: number): AsyncIterable<Figure> {
  await using network = await make();
  yield* measureNetwork(who, network, talk, seconds);
}

/**
 * One repeat of these networks, one after the other: each has the machine to itself. One that fails is reported and left out from there on; csvn's own failure
 * ends the run.
 *
 * @param seconds Of each measurement.
 * @param names Of {@linkcode networkNames}.
 */
export async function* measureGuests(seconds: number, names: readonly string[]): AsyncIterable<Figure> {
  const talk = await buildProgram(fromFileUrl(new URL("../../guest/bench/talk", import.meta.url)), stderrProgress);
  for (const kind of NETWORKS) {
    if (!names.includes(kind.who)) continue;
    stderrProgress(`guests: ${kind.who}`);
    try {
      yield* measureKind(kind, talk, seconds);
    } catch (error) {
      if (kind.who === "csvn" || !(error instanceof Error)) throw error;
      stderrProgress(`guests: ${kind.who} FAILED, and the rest of it is left out of this repeat: ${error.message}`);
    }
  }
}
