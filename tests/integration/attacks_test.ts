/**
 * Front-ends that want the switch to wait, or to be busy with them alone. Beside each an honest pair sets circuits up and moves bytes: nothing of that fails or is lost, and
 * it takes as long as beside somebody who merely burns the same CPU. The API answers, what the attacker held is given back once it has gone, and the switch stops as any other
 * while it is attacked.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- figures are for people

import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async";
import { ask } from "../../src/cli/api.ts";
import type { SwitchStatus } from "../../src/host/switch.ts";
import {
  blockEventfd,
  Busy,
  busy,
  hugeMemory,
  lingering,
  punch,
  silentFile,
  UnavailableError,
} from "../support/attack.ts";
import { FakeDriver } from "../support/fake_driver.ts";
import { FakeFrontEnd, FEATURES, u32s, u64s, USER_BASE } from "../support/fake_front_end.ts";
import * as native from "../support/native.ts";
import { SwitchProcess } from "../support/switch_process.ts";
import { Talk } from "../support/talk.ts";
import { until } from "../support/until.ts";

const SET_UPS = 200;
/** Milliseconds that the switch has to stop, on a machine that has much else to do. */
const STOP_MS = 30_000;

/** A switch with an honest pair that talks. */
class House implements AsyncDisposable {
  /** It is being stopped: nobody answers. */
  stops = false;

  private constructor(
    readonly net: SwitchProcess,
    readonly api: string,
    readonly a: FakeDriver,
    readonly b: FakeDriver,
    readonly talk: Talk,
    readonly stack: AsyncDisposableStack,
  ) {}

  static async build(): Promise<House> {
    await using stack = new AsyncDisposableStack();
    const directory = await Deno.makeTempDir({ prefix: "csvn-api-" });
    stack.defer(() => Deno.remove(directory, { recursive: true }));
    const api = `${directory}/api`;
    const net = stack.use(await SwitchProcess.start(["a", "b", "other", "evil"], ["--no-outside", "--api", api]));
    const a = stack.use(await FakeDriver.boot(net.socket("a")));
    const b = stack.use(await FakeDriver.boot(net.socket("b")));
    await b.listen(80);
    const here = await a.mustConnect(b.address, 80);
    const talk = stack.use(new Talk(here, (await b.accept()).circuit));
    await until("the API", () => ask(api, "/v1/status").then(() => true, () => false));
    return new House(net, api, a, b, talk, stack.move());
  }

  status(): Promise<SwitchStatus> {
    return ask<SwitchStatus>(this.api, "/v1/status");
  }

  /** What the switch holds, without what comes and goes by itself. */
  async held(): Promise<unknown> {
    const { vms, circuits, arenas, ports, plane, descriptors } = await this.status();
    return {
      vms: vms.map(({ name, state, circuits, arenas }) => [name, state, circuits, arenas]).sort(),
      open: circuits.open,
      arenas: arenas.map(({ vms, circuits }) => [...vms, circuits]),
      ports: ports.map(({ vm, state }) => `${vm} ${state}`).sort(),
      routes: plane.routes,
      descriptors,
    };
  }

  /** Set circuits up and close them: median and 99th percentile in milliseconds. None may fail. */
  async setUps(): Promise<{ p50: number; p99: number }> {
    const times: number[] = [];
    const { turns } = this.talk;
    for (let i = 0; i < SET_UPS; i++) {
      const began = performance.now();
      const here = await this.a.mustConnect(this.b.address, 80);
      times.push(performance.now() - began);
      const { circuit: there } = await this.b.accept();
      here.write(Uint8Array.of(i));
      assertEquals(await there.readAll(1), Uint8Array.of(i));
      assertEquals([await here.close(), await there.close()], [0, 0]);
    }
    times.sort((x, y) => x - y);
    await until("bytes of those that talk", () => this.talk.turns > turns);
    return { p50: times[SET_UPS >> 1]!, p99: times[Math.floor(SET_UPS * 0.99)]! };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stack.disposeAsync();
  }
}

/** Why something cannot be had on this system; undefined: it can. */
async function lacks(take: () => Promise<unknown> | unknown): Promise<string | undefined> {
  try {
    await take();
    return undefined;
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return error.message;
  }
}

/** What attacks need that not every system has. */
const missing = new Map<string, string | undefined>([
  [
    "a file whose server is silent as a descriptor",
    await lacks(async () => {
      const file = await silentFile();
      await file[Symbol.asyncDispose]();
      native.close(file.fd);
    }),
  ],
  ["memory of huge pages", await lacks(() => native.close(hugeMemory(2 << 20)))],
  [
    "an arena whose inode's lock is held",
    await lacks(() => {
      const fd = native.memfd(4096);
      try {
        native.lockInode(fd)[Symbol.dispose]();
      } catch (error) {
        throw new UnavailableError((error as Error).message);
      } finally {
        native.close(fd);
      }
    }),
  ],
]);

/** A test's name, and whether it is left out. */
function named(name: string, needs: string): { name: string; ignore: boolean } {
  const why = missing.get(needs);
  return { name: why === undefined ? name : `${name} (left out: ${why})`, ignore: why !== undefined };
}

/** What is done to the switch, until it is disposed. */
type Attack = (house: House) => Promise<AsyncDisposable>;

/** A front-end that does what it likes. */
function frontEnd(house: House, stack: AsyncDisposableStack): FakeFrontEnd {
  return stack.use(new FakeFrontEnd(house.net.socket("evil")));
}

/** Send a file where a descriptor belongs, on a session of its own each; wait for none. */
async function sendEverywhere(house: House, stack: AsyncDisposableStack, fd: number): Promise<void> {
  const table = new Uint8Array(40);
  table.set(u32s(1, 0));
  table.set(u64s(0n, 4096n, USER_BASE, 0n), 8);
  const sends: ((f: FakeFrontEnd) => void)[] = [
    (f) => f.send(5, table, [fd]),
    (f) => f.send(12, u64s(0n), [fd]),
    (f) => f.send(13, u64s(0n), [fd]),
    (f) => f.send(21, undefined, [fd]),
  ];
  for (const send of sends) {
    await using f = new FakeFrontEnd(house.net.socket("evil"));
    await f.realize();
    send(f);
    await until("the session's end", () => f.ended);
  }
  // One that lies in the socket when its front-end goes.
  const f = frontEnd(house, stack);
  await f.realize();
  f.send(5, table.subarray(0, 20), [fd]);
}

const attacks: Record<string, Attack> = {
  "full eventfds that block, to call and to be kicked by": async (house) => {
    await using stack = new AsyncDisposableStack();
    const afterwards: (() => Promise<void>)[] = [];
    stack.defer(async () => {
      for (const act of afterwards) await act();
    });
    const driver = stack.use(await FakeDriver.boot(house.net.socket("evil")));
    for (const fd of [...driver.frontEnd.calls, ...driver.frontEnd.kicks]) blockEventfd(fd);
    // Its queues have something to do: answers, announcements, wakes.
    await driver.listen(81);
    for (let i = 0; i < 20; i++) driver.post(99, [], 16);
    // What one of the pair has with it: an error, or a circuit that is reset, and that it closes.
    const token = house.a.postConnect(driver.address, 81);
    afterwards.push(async () => {
      if (house.stops) return;
      const circuit = house.a.circuitOf(await house.a.answer(token));
      if (typeof circuit === "number") return;
      await until("its reset", () => house.a.resets.has(circuit.id));
      house.a.resets.delete(circuit.id);
      await circuit.close();
    });
    return stack.move();
  },
  "a TCP socket that lingers as a descriptor": async (house) => {
    await using stack = new AsyncDisposableStack();
    const { socket, others } = lingering();
    stack.defer(() => {
      for (const fd of others) native.close(fd);
    });
    await sendEverywhere(house, stack, socket);
    // The switch has the last one.
    native.close(socket);
    return stack.move();
  },
  "a file whose server is silent as a descriptor": async (house) => {
    await using stack = new AsyncDisposableStack();
    const file = await silentFile();
    stack.defer(() => native.close(file.fd));
    stack.use(file);
    await sendEverywhere(house, stack, file.fd);
    return stack.move();
  },
  "memory of huge pages": async (house) => {
    await using stack = new AsyncDisposableStack();
    const bytes = 2 << 20;
    const memory = hugeMemory(bytes);
    stack.defer(() => native.close(memory));
    const f = frontEnd(house, stack);
    await f.realize();
    const table = new Uint8Array(40);
    table.set(u32s(1, 0));
    table.set(u64s(0n, BigInt(bytes), USER_BASE, 0n), 8);
    f.send(2, u64s(FEATURES));
    f.send(5, table, [memory]);
    await until("the session's end", () => f.ended);
    punch(memory, bytes);
    return stack.move();
  },
  "memory that is punched while it is read": async (house) => {
    await using stack = new AsyncDisposableStack();
    const driver = stack.use(await FakeDriver.boot(house.net.socket("evil")));
    await driver.suspend();
    const { memoryFd: fd, memory, kicks } = driver.frontEnd;
    stack.use(busy(Busy.PUNCHES, { fd, bytes: memory.length }));
    // Every queue is looked at, again and again. Nothing is written here, where the honest pair's drivers would wait for that.
    stack.use(repeat(() => {
      for (const kick of kicks) native.eventfdAdd(kick);
    }));
    return stack.move();
  },
  "an arena whose inode's lock is held": async (house) => {
    await using stack = new AsyncDisposableStack();
    const driver = stack.use(await FakeDriver.boot(house.net.socket("evil")));
    driver.frontEnd.keepsArenas = true;
    await driver.listen(81);
    const here = await house.a.mustConnect(driver.address, 81);
    const { circuit: there } = await driver.accept();
    stack.use(native.lockInode(driver.frontEnd.kept[0]!));
    // Its slot is to be zeroed.
    await Promise.all([here.close(), there.close()]);
    return stack.move();
  },
  "a kick that always comes": async (house) => {
    await using stack = new AsyncDisposableStack();
    const driver = stack.use(await FakeDriver.boot(house.net.socket("evil")));
    stack.use(busy(Busy.SIGNALS, { fd: driver.frontEnd.kicks[2]! }));
    return stack.move();
  },
  "connections to its own socket without end": (house) => {
    return Promise.resolve(busy(Busy.CONNECTS, { path: house.net.socket("evil") }));
  },
};

/** Do something every millisecond or so, until this is disposed. */
function repeat(act: () => void): AsyncDisposable {
  let going = true;
  const loop = (async () => {
    for (; going; await delay(1)) act();
  })();
  return {
    [Symbol.asyncDispose]: () => {
      going = false;
      return loop;
    },
  };
}

const show = ({ p50, p99 }: { p50: number; p99: number }): string => `p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)} ms`;

for (const [name, attack] of Object.entries(attacks)) {
  Deno.test(named(`an honest pair does not notice ${name}`, name), async () => {
    await using house = await House.build();
    await house.setUps(); // what is made once, is
    await delay(200);
    const before = await house.held();
    const alone = await house.setUps();
    let control: { p50: number; p99: number };
    {
      // An attacker, and the port that serves it.
      await using _ = busy(Busy.NOTHING, { threads: 2 });
      control = await house.setUps();
    }
    let attacked: { p50: number; p99: number };
    {
      await using _ = await attack(house);
      attacked = await house.setUps();
      const { vms } = await house.status();
      assert(["a", "b"].every((honest) => vms.some((vm) => vm.name === honest && vm.state === "ready")));
    }
    console.log(`    set-ups alone: ${show(alone)}; beside a loop: ${show(control)}; attacked: ${show(attacked)}`);
    assert(attacked.p99 < 10 * control.p99 + 1000, `set-ups take ${show(attacked)}, beside a loop ${show(control)}`);
    let after: unknown;
    await until("all is given back", async () => {
      after = await house.held();
      return JSON.stringify(after) === JSON.stringify(before);
    }).catch(() => assertEquals(after, before));
    await house.talk.stop();
    assertEquals([house.a.resets.size, house.b.resets.size], [0, 0]);
    {
      await using _ = await attack(house);
      house.stops = true;
      const began = performance.now();
      const late = setTimeout(() => house.net.signal("SIGKILL"), STOP_MS);
      house.net.signal("SIGTERM");
      const { code, signal } = await house.net.child.status;
      clearTimeout(late);
      console.log(`    stopped within ${Math.round(performance.now() - began)} ms while it was attacked`);
      assertEquals([code, signal], [0, null]);
    }
  });
}

const silent = "a file whose server is silent as a descriptor";
const eight = "a socket of which eight ports cannot be killed takes no more front-ends, until they have ended";
Deno.test(named(eight, silent), async () => {
  await using house = await House.build();
  await house.setUps(); // what is made once, is
  const { descriptors } = await house.status();
  const evil = async (): Promise<string[]> => {
    return (await house.status()).ports.filter(({ vm }) => vm === "evil").map(({ state }) => state);
  };
  const attach = async (fd: number): Promise<void> => {
    await using f = new FakeFrontEnd(house.net.socket("evil"));
    await f.realize();
    f.send(12, u64s(0n), [fd]);
    await until("the session's end", () => f.ended);
  };
  {
    await using stack = new AsyncDisposableStack();
    const file = await silentFile();
    stack.defer(() => native.close(file.fd));
    stack.use(file);
    for (let i = 0; i < 8; i++) await attach(file.fd);
    // Each waits for the file, in a thread that closes it.
    await until(
      "all are written off",
      async () => (await evil()).filter((state) => state === "written off").length === 8,
    );
    await using turned = new FakeFrontEnd(house.net.socket("evil"));
    await until("it is turned away", () => turned.ended);
    await house.setUps();
    await using other = await FakeDriver.boot(house.net.socket("other"));
    assertEquals(other.name, "other");
  }
  await until("all have ended", async () => (await evil()).length === 0);
  await until("nothing is left", async () => (await house.status()).descriptors === descriptors);
  await using again = await FakeDriver.boot(house.net.socket("evil"));
  assertEquals(again.name, "evil");
});
