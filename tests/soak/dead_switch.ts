/**
 * Switches that are killed at random moments of their guests' lives: no QEMU may be lost, and each guest must answer commands two minutes later.
 *
 *     deno task soak:dead-switch [--guests 200] [--at-once 8] [--seed N]
 *
 * A guest does one of these when its switch dies, by SIGKILL or SIGTERM: it boots, sets connections up, transfers, sits idle, or loads and
 * unloads its driver. Two minutes later it answers, and then it reboots or shuts down in order. What answers QEMU meanwhile is each guest's
 * port.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program

import { parseArgs } from "@std/cli";
import { Guest, GuestError } from "../../tools/testbed/guest.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { ensureTestbed } from "../../tools/testbed/prepare.ts";
import { SwitchProcess } from "../support/switch_process.ts";

const LATER_MS = 120_000;
const LIVES = ["boot", "set-up", "transfer", "idle", "unload"] as const;
type Life = typeof LIVES[number];

/** What guests do until their switch dies; $1 is the address of a neighbour. */
const PROGRAMS: Record<Exclude<Life, "boot">, string> = {
  "set-up": "while :; do curl -s --max-time 5 -o /dev/null http://$1/; echo x | timeout 2 socat -u - UDP:$1:9; done",
  transfer: "while :; do timeout 60 socat -u /dev/zero TCP:$1:7000; sleep 0.1; done",
  idle: "sleep 1000",
  unload:
    "cd /; ko=$(find / -xdev -name csvn.ko | head -n 1); while :; do rmmod csvn; insmod $ko; sleep 0.$((RANDOM % 10)); done",
};

/** Random numbers that can be had again. */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface Outcome {
  readonly name: string;
  readonly life: Life;
  readonly signal: Deno.Signal;
  /** Undefined: all is well; else what was wrong. */
  readonly wrong: string | undefined;
  /** Its QEMU found no switch to begin with. */
  readonly unborn?: boolean;
}

/** One switch and its guests, from boot to the guests' end. */
async function round(number: number, guests: number, random: (below: number) => number): Promise<Outcome[]> {
  const names = Array.from({ length: guests }, (_, i) => `g${number}-${i}`);
  const signal: Deno.Signal = random(4) === 0 ? "SIGTERM" : "SIGKILL";
  const lives = names.map(() => LIVES[random(LIVES.length)]!);
  const late = names.map((_, i) => lives[i] === "boot" ? random(8_000) : 0);
  await using net = await SwitchProcess.start(names);
  const running = new Map<string, Guest>();
  const failed = new Map<string, unknown>();
  const boot = async (name: string): Promise<void> => {
    try {
      running.set(name, await Guest.boot({ name, socket: net.socket(name), memoryMiB: 192, bootTimeoutMs: 300_000 }));
    } catch (error) {
      failed.set(name, error);
    }
  };
  const early = names.filter((_, i) => lives[i] !== "boot");
  await Promise.all(early.map(boot));
  const addresses: string[] = [];
  for (const name of early) {
    const guest = running.get(name);
    if (!guest) continue;
    addresses.push((await guest.run("hostname -I")).stdout.split(" ")[0]!);
    guest.spawn("nginx; exec socat -u TCP-LISTEN:7000,reuseaddr,fork /dev/null", { stdin: false });
  }
  for (const [i, name] of names.entries()) {
    const life = lives[i]!;
    if (life === "boot") continue;
    const peer = addresses[(i + 1) % addresses.length] ?? "10.77.0.1";
    running.get(name)?.spawn(`set -- ${peer}; ${PROGRAMS[life]}`, { stdin: false });
  }
  // Those that are to be in the middle of booting when it happens.
  const booting = names.map((name, i) => lives[i] === "boot" ? pause(late[i]!).then(() => boot(name)) : undefined);
  await pause(random(12_000));
  await net.kill(signal);
  await pause(LATER_MS);
  await Promise.all(booting);
  return await Promise.all(names.map(async (name, i): Promise<Outcome> => {
    const outcome = { name, life: lives[i]!, signal };
    const guest = running.get(name);
    if (!guest) {
      const why = String(failed.get(name));
      // QEMU needs a switch to begin with.
      const unborn =
        /no switch at|Connection refused|Failed to connect|vhost_backend_init|initializ|realize|peer closed|memory slots limit \(0\)/i
          .test(why);
      return { ...outcome, wrong: unborn ? undefined : why, unborn };
    }
    try {
      // A machine that has too much to do makes a guest's processors wait, and its kernel complain of that: not our business.
      const alive = await guest.run(
        "echo alive; dmesg | grep -v 'soft lockup' | grep -E 'BUG|Oops|WARNING:|hung task' >&2",
        {
          timeoutMs: 120_000,
        },
      );
      if (alive.stdout !== "alive\n" || alive.stderr !== "") {
        return { ...outcome, wrong: `${alive.stdout}${alive.stderr}` };
      }
      if (random(2) === 0) {
        await guest.reboot(300_000);
        if ((await guest.run("echo again", { timeoutMs: 120_000 })).stdout !== "again\n") {
          return { ...outcome, wrong: "not the same after its reboot" };
        }
      }
      await guest.shutdown();
      const { code } = await guest.exited;
      return { ...outcome, wrong: code === 0 ? undefined : `its QEMU ended with ${code}` };
    } catch (error) {
      return { ...outcome, wrong: error instanceof GuestError ? error.message : String(error) };
    } finally {
      await guest.kill();
    }
  }));
}

if (import.meta.main) {
  const options = parseArgs(Deno.args, { string: ["guests", "at-once", "seed"] });
  const total = Number(options.guests ?? 200);
  const atOnce = Number(options["at-once"] ?? 8);
  const seed = Number(options.seed ?? Date.now() % 2 ** 31);
  console.log(`seed ${seed}`);
  const random = generator(seed);
  await ensureTestbed({ progress: stderrProgress });
  const outcomes: Outcome[] = [];
  for (let number = 0; outcomes.length < total; number++) {
    const found = await round(number, Math.min(atOnce, total - outcomes.length), random);
    outcomes.push(...found);
    for (const { name, life, signal, wrong } of found) if (wrong) console.log(`${name} (${life}, ${signal}): ${wrong}`);
    const lost = outcomes.filter(({ wrong }) => wrong).length;
    console.log(
      `${outcomes.length} guests, ${lost} lost, ${outcomes.filter(({ unborn }) => unborn).length} found no switch`,
    );
  }
  const lost = outcomes.filter(({ wrong }) => wrong).length;
  for (const life of LIVES) {
    const those = outcomes.filter((outcome) => outcome.life === life);
    console.log(`${life}: ${those.length} guests, ${those.filter(({ wrong }) => wrong).length} lost`);
  }
  console.log(`${outcomes.length - lost} passed, ${lost} failed`);
  Deno.exit(lost === 0 ? 0 : 1);
}
