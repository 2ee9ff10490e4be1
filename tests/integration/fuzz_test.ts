/**
 * Random operations of several fake VMs on the real switch: right ones, wrong ones, and ends of all kinds. A healthy pair
 * goes on working throughout, and in the end nothing is left. `CSVN_SEED` repeats a run's choices (not its timing).
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async";
import { RequestType } from "../../src/circuit/records.ts";
import type { FakeCircuit } from "../support/fake_circuit.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { u32s, u64s } from "../support/fake_front_end.ts";
import { startTestSwitch } from "../support/test_switch.ts";
import { until } from "../support/until.ts";

const MILLISECONDS = 8_000;
const VMS = 4;

class Random {
  constructor(public state: number) {}

  /** A number below `limit`; xorshift. */
  below(limit: number): number {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) % limit;
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)];
  }
}

/** A VM that misbehaves: its driver now, and what it holds. */
class Wild {
  driver!: FakeDriver;
  readonly circuits: FakeCircuit[] = [];
  readonly tokens: bigint[] = [];
  readonly counts = new Map<string, number>();

  constructor(readonly socket: string, readonly random: Random) {}

  async boot(): Promise<void> {
    this.driver = await FakeDriver.boot(this.socket);
    this.driver.frontEnd.driverCrashes = true;
    await this.begin();
  }

  /** A driver came up: it listens, so that others may connect. */
  async begin(): Promise<void> {
    this.circuits.length = this.tokens.length = this.driver.incoming.length = 0;
    for (let i = 0; i < 3; i++) assertEquals((await this.driver.listen(80 + i, i, 4)).error, 0);
  }

  /** Act until the time is up. */
  async run(end: number, all: readonly Wild[], names: string[]): Promise<void> {
    while (Date.now() < end) {
      await this.act(all, names);
      await delay(1);
    }
  }

  /** A device that was reset starts again. */
  async restart(): Promise<void> {
    await this.driver.stop();
    await this.driver.start();
    assertEquals((await this.driver.hello()).error, 0);
    await this.begin();
  }

  /** Collect what came: answered CONNECTs and incoming connections. */
  async collect(): Promise<void> {
    for (const token of this.tokens.splice(0)) {
      if (!this.driver.answered(token)) this.tokens.push(token);
      else {
        const circuit = this.#circuit(await this.driver.answer(token));
        if (circuit) this.circuits.push(circuit);
      }
    }
    for (const incoming of this.driver.incoming.splice(0)) this.circuits.push(incoming.circuit);
  }

  #circuit(answer: Awaited<ReturnType<FakeDriver["answer"]>>): FakeCircuit | undefined {
    const circuit = this.driver.circuitOf(answer);
    return typeof circuit === "number" ? undefined : circuit;
  }

  /** Do something. Nothing is waited for but what the switch must answer at once. */
  async act(all: readonly Wild[], names: string[]): Promise<void> {
    const { driver, random } = this;
    await this.collect();
    const operations: [string, number, () => unknown][] = [
      ["connect", 60, () => {
        const address = random.pick([random.pick(all)!.driver.address, "10.77.3.3", "192.0.2.1", driver.address6])!;
        this.tokens.push(driver.postConnect(address, 80 + random.below(3)));
      }],
      ["listen", 8, () => driver.listen(80 + random.below(3), random.below(4), random.below(4))],
      ["unlisten", 2, () => driver.unlisten(random.below(4))],
      ["credit", 30, () => driver.credit(random.below(4), 1 + random.below(2))],
      ["cancel", 8, () => driver.cancel(random.pick(this.tokens) ?? 1n)],
      [
        "close",
        8,
        () => this.circuits.splice(random.below(this.circuits.length), 1)[0]?.close(random.below(8) ? 0 : 1),
      ],
      ["bytes and doorbells", 40, () => {
        const circuit = random.pick(this.circuits);
        circuit?.write(new Uint8Array(random.below(2000)).fill(random.below(256)));
        circuit?.ring();
      }],
      ["doorbells of nothing", 2, () => driver.ring(random.below(2 ** 31), random.below(8))],
      [
        "scribbling over a control page",
        2,
        () => random.pick(this.circuits)?.own.setBigUint64(0, BigInt(random.below(2 ** 31))),
      ],
      ["malformed record", 20, () => {
        const bytes = Uint8Array.from({ length: random.below(130) }, () => random.below(256));
        // A token that no request of the driver has, or the answer would be taken for that request's.
        bytes.fill(0, 8, 16);
        if (bytes.length >= 16) bytes[15] = 0x80;
        // Mostly with a header that is right, so that more than the header is read.
        if (bytes.length >= 16 && random.below(4)) {
          bytes.set(new Uint8Array(Uint16Array.of(1 + random.below(12), 1).buffer));
          bytes.set(u32s(bytes.length), 4);
          // Neither HELLO nor BYE by accident: those have operations of their own.
          if (bytes[0]! <= 2) bytes[0] = RequestType.CONNECT;
        }
        driver.submit(bytes);
      }],
      ["wrong answer about an arena", 2, () => {
        driver.answerArena(RequestType.ARENA_PREPARED + random.below(3), 1 + random.below(5), random.below(3));
      }],
      ["HELLO again after BYE and reset", 1, async () => {
        await driver.bye();
        await this.restart();
      }],
      ["reset without BYE", 1, () => this.restart()],
      ["broken virtqueue, then reset", 1, async () => {
        driver.queues[random.below(4)]!.setAvailableIndex(20_000 + random.below(1000));
        for (const queue of driver.queues) queue.kick();
        await this.restart();
      }],
      ["malformed vhost-user message", 1, async () => {
        driver.frontEnd.send(random.below(60), u64s(BigInt(random.below(2 ** 31))), [], 1 + 8 * random.below(2));
        await driver[Symbol.asyncDispose]();
        await this.boot();
      }],
      ["killed", 1, async () => {
        await driver[Symbol.asyncDispose]();
        await this.boot();
      }],
    ];
    let at = random.below(operations.reduce((sum, [, weight]) => sum + weight, 0));
    const [name, , act] = operations.find(([, weight]) => (at -= weight) < 0)!;
    names.push(`${driver.name} ${name}`);
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    await act();
  }
}

Deno.test("random operations of wild VMs leave a healthy pair alone, and nothing behind", async () => {
  const seed = Number(Deno.env.get("CSVN_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1) || 1;
  const names: string[] = [];
  try {
    await fuzz(new Random(seed), names);
  } catch (error) {
    throw new Error(`CSVN_SEED=${seed}, after ${names.length} operations, the last of them: ${names.slice(-12)}`, {
      cause: error,
    });
  }
});

async function fuzz(random: Random, names: string[]): Promise<void> {
  await using net = await startTestSwitch({
    limits: { arenaIdleMs: 20, arenaAnswerMs: 500, connectMs: 300, ringBytes: 16 << 10, arenaBytes: 2 << 20 },
  });
  const { csvn } = net;
  {
    // What is made once, as the janitor is, is there when a first pair has come and gone.
    await using one = await FakeDriver.boot(net.socket);
    await using other = await FakeDriver.boot(net.socket);
    await other.listen(80);
    const here = await one.mustConnect(other.address, 80);
    const { circuit: there } = await other.accept();
    assertEquals([await here.close(), await there.close()], [0, 0]);
    await until("no arena", () => csvn.status().arenas.length === 0);
  }
  await until("no VM", () => csvn.status().vms.length === 0 && csvn.status().plane.ports === 0);
  const before = csvn.status();
  {
    await using server = await FakeDriver.boot(net.socket);
    await using client = await FakeDriver.boot(net.socket);
    assertEquals((await server.listen(80)).error, 0);
    const wilds = Array.from({ length: VMS }, () => new Wild(net.socket, new Random(1 + random.below(2 ** 31))));
    for (const wild of wilds) await wild.boot();
    const steady = await client.mustConnect(server.address, 80);
    const far = (await server.accept()).circuit;
    const exchange = (here: FakeCircuit, there: FakeCircuit): void => {
      const bytes = Uint8Array.from({ length: 1 + random.below(1000) }, () => random.below(256));
      assertEquals(here.write(bytes), bytes.length);
      assertEquals(there.read(), bytes);
    };
    let healthy = 1;
    const end = Date.now() + MILLISECONDS;
    const wilderness = Promise.all(wilds.map((wild) => wild.run(end, wilds, names)));
    wilderness.catch(() => {}); // it is awaited below
    while (Date.now() < end) {
      exchange(steady, far);
      const here = await client.mustConnect(server.address, 80);
      const { circuit: there } = await server.accept();
      exchange(here, there);
      exchange(there, here);
      there.arm();
      here.ring();
      await until("the healthy pair's wake", () => server.wakes.includes(there.id));
      server.wakes.length = 0;
      assertEquals([await here.close(), await there.close()], [0, 0]);
      healthy++;
    }
    await wilderness;
    const states = csvn.status().vms.filter(({ name }) => name === server.name || name === client.name);
    assertEquals(states.map(({ state, circuits }) => [state, circuits]), [["ready", 1], ["ready", 1]]);
    assertEquals([client.resets.size, server.resets.size], [0, 0]);
    // Every operation had its turn, and circuits among the wild ones came about.
    const counts = new Map<string, number>();
    for (const wild of wilds) for (const [name, n] of wild.counts) counts.set(name, (counts.get(name) ?? 0) + n);
    assert(counts.size === 16, `only ${[...counts.keys()]}`);
    assert(
      !net.log.some((line) => line.startsWith("a bug of csvn's")),
      net.log.find((line) => line.startsWith("a bug")),
    );
    for (const wild of wilds) await wild.driver[Symbol.asyncDispose]();
    assertEquals([await steady.close(), await far.close()], [0, 0]);
    await until("no circuit and no arena", () => {
      const { circuits, arenas, plane } = csvn.status();
      return circuits.open === 0 && arenas.length === 0 && plane.routes === 0;
    });
  }
  await until("no VM", () => csvn.status().vms.length === 0);
  await until("no descriptor more", () => csvn.status().descriptors <= before.descriptors);
  const after = csvn.status();
  assertEquals(after.plane.ports, 0);
}
