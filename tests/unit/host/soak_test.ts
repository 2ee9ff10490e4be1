/**
 * A week of coming and going, in virtual time: what a switch holds at its end is what it held at its beginning.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Errno } from "../../../src/errno.ts";
import { Enforcer } from "../../../src/host/enforcer.ts";
import { switchWorkload, workloadOf } from "../../../src/host/workloads.ts";
import { addressOf, type Endpoint, parseAddress } from "../../../src/net/address.ts";
import type { FakeClock } from "../../support/fake_clock.ts";
import { FakeNet, type FakeVm, settle } from "../../support/fake_plane.ts";
import { circuitPolicy, networkPolicy, policySet } from "../../support/policies.ts";

const DAY = 86_400_000;
const HOUR = 3_600_000;
const VMS = 6;
/** The port of a datagram socket that talks to ever more addresses. */
const SOCKET = 4000;
const limits = {
  ringBytes: 16 << 10,
  arenaBytes: 2 << 20,
  arenaMaxBytes: 16 << 20,
  windowBytes: 2 ** 28,
  maxCircuits: 300,
  arenaIdleMs: 30_000,
};

const set = (rules: string): ReturnType<typeof policySet> => policySet(rules);
const open = set(networkPolicy("{podSelector: {}, ingress: [{}]}", "open"));
const strict = set(
  `${networkPolicy("{podSelector: {}, ingress: [{ports: [{port: 80}]}]}", "strict")}---\n${
    circuitPolicy("{podSelector: {}, egress: [{action: Allow, to: [{domainNames: ['*.test']}]}]}", "names")
  }`,
);

/** Random numbers that are the same each time. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
}

const outside = (n: number): string => addressOf(Uint8Array.of(192, 0, 2 + (n >> 8 & 63), n & 255)).text;
const endpoint = (address: string, port: number): Endpoint => ({ address: parseAddress(address), port });

/** A switch, its VMs, and the world around it. */
class World implements Disposable {
  readonly clock: FakeClock;
  readonly enforcer: Enforcer;
  readonly net: FakeNet;
  readonly vms: FakeVm[] = [];
  readonly pick: (below: number) => number;
  policies = open;
  #over = false;
  /** A VM that stands still, and says nothing. */
  #paused: FakeVm | undefined;
  #token = 1000n;
  #port = 0;

  constructor(seed: number) {
    this.pick = random(seed);
    const self = switchWorkload([parseAddress("10.77.0.1")], new Map());
    // The net has the clock, and the verdict comes from what has the clock too.
    let enforcer: Enforcer | undefined;
    this.net = new FakeNet({
      limits,
      outside: true,
      verdict: (attempt, before) => enforcer!.verdict(attempt, before),
      publish: [
        { protocol: "tcp", host: endpoint("127.0.0.1", 8080), vm: "vm1", port: 80 },
        { protocol: "udp", host: endpoint("127.0.0.1", 5353), vm: "vm1", port: 53 },
      ],
    });
    this.clock = this.net.clock;
    this.enforcer = enforcer = new Enforcer(() => this.policies, self, this.clock);
    for (let i = 0; i < VMS; i++) this.vms.push(this.#come());
  }

  [Symbol.dispose](): void {
    this.net[Symbol.dispose]();
  }

  #come(): FakeVm {
    const fake = this.net.attach();
    const { identity } = fake.vm;
    this.enforcer.add({ workload: workloadOf(identity, {}, new Map()), onDeny: "refuse", audit: false });
    assertEquals(fake.hello(), 0);
    this.listen(fake);
    return fake;
  }

  listen(fake: FakeVm): void {
    for (const port of [80, 443]) fake.listen(port, port, 8);
    fake.listen(53, 53, 64, "0.0.0.0", 0, 17);
  }

  /** What drivers and the world hold no more once everybody has closed everything. */
  closeAll(): void {
    for (const fake of this.vms) {
      if (fake === this.#paused) continue;
      // One socket of the VM that stays is open all week.
      const kept = this.#over ? undefined : fake === this.vms[0] && fake.holds.hostDatagrams.get(`4:${SOCKET}`)?.id;
      for (const id of [...fake.holds.circuits.keys()]) if (id !== kept) fake.close(id);
      for (const token of [...fake.holds.attempts.keys()]) fake.cancel(token);
      for (const listener of fake.holds.listeners.values()) fake.credit(listener.id, listener.outstanding);
    }
  }

  #resume(): void {
    const fake = this.#paused;
    this.#paused = undefined;
    fake?.resume();
  }

  /** One thing that happens. */
  async happen(): Promise<void> {
    this.#over = false;
    // The first one stays.
    const what = this.pick(14);
    const at = what === 9 || what === 10 ? 1 + this.pick(this.vms.length - 1) : this.pick(this.vms.length);
    const fake = this.vms[at]!;
    const ready = fake.vm.state === "ready" && fake !== this.#paused;
    const other = this.vms[this.pick(this.vms.length)]!;
    switch (what) {
      case 0:
      case 1:
      case 2:
        for (let n = this.pick(40); n >= 0 && ready; n--) {
          this.#connect(fake, other.vm.identity.ipv4.text, 80 + 363 * this.pick(2));
        }
        break;
      case 3:
        if (ready) this.#connect(fake, outside(this.pick(5000)), 443);
        break;
      case 4:
        // One socket, to many.
        for (let n = 0; n < 200 && this.vms[0] !== this.#paused; n++) {
          const ticket = this.#connect(this.vms[0]!, outside(this.pick(16_000)), 53, 17, SOCKET);
          await settle();
          assert(this.vms[0]!.errno(ticket) !== Errno.ENOBUFS);
        }
        break;
      case 5:
        if (ready) this.#connect(fake, other.vm.identity.ipv4.text, 53, 17, 4001);
        break;
      case 6:
        for (let n = 0; n < 5; n++) {
          this.net.host.accept("127.0.0.1:8080", endpoint("192.0.2.9", 1 + this.pick(60_000)));
        }
        for (const bound of this.net.host.datagrams.values()) {
          bound.source(endpoint("192.0.2.9", 1 + this.pick(60_000)));
        }
        break;
      case 7:
        this.enforcer.resolved(
          fake.vm.name,
          `n${this.pick(4000)}.test`,
          [parseAddress(outside(this.pick(5000)))],
          this.pick(600),
        );
        break;
      case 8:
        this.policies = this.policies === open ? strict : open;
        this.net.operator.revise();
        break;
      case 9:
        if (!ready) break;
        if (this.pick(2)) fake.bye();
        else fake.reset();
        await settle();
        fake.reset();
        fake.start();
        assertEquals(fake.hello(), 0);
        this.listen(fake);
        break;
      case 10:
        if (fake === this.#paused) this.#paused = undefined;
        this.enforcer.remove(fake.vm.name);
        fake.destroy();
        this.vms[at] = this.#come();
        break;
      case 11:
        this.#resume();
        fake.pause();
        this.#paused = fake;
        break;
      case 12:
        if (!ready) break;
        fake.unlisten(443);
        fake.listen(443, 443, this.pick(3));
        this.#connect(fake, "10.77.9.9", 80);
        break;
      case 13:
        this.net.host.connects = this.pick(3) ? 0 : 111;
        this.closeAll();
        break;
    }
    await this.clock.pass(this.pick(2) ? this.pick(1000) : this.pick(HOUR / 2));
    this.closeAll();
    for (const { vm, events, answers } of this.vms) {
      assert(vm.state !== "faulted");
      events.length = 0;
      answers.clear();
    }
  }

  #connect(
    fake: FakeVm,
    address: string,
    port: number,
    protocol = 6,
    fromPort = 10_000 + this.#port++ % 50_000,
  ): number {
    return fake.connect(address, port, { protocol, fromPort, token: this.#token++ });
  }

  /** Everything that may leak, once all is quiet. */
  async held(): Promise<unknown> {
    this.#over = true;
    this.#resume();
    for (let i = 0; i < 3; i++) {
      this.closeAll();
      await this.clock.pass(HOUR);
    }
    const { operator, memories, host } = this.net;
    return {
      vms: this.vms.map(({ vm, holds, maps, routes }) => ({
        name: vm.name,
        state: vm.state,
        held: [holds.circuits, holds.attempts, holds.arenas, holds.hostDatagrams, maps, routes].map(({ size }) => size),
        listeners: [...holds.listeners.values()].map(({ id, outstanding, waiting }) => [id, outstanding, waiting.size])
          .sort(([a], [b]) => a! - b!),
        window: vm.window.free,
      })).sort((a, b) => a.name < b.name ? -1 : 1),
      switch: [operator.circuits.size, operator.arenas.pairs, [...operator.arenas.all].length, this.enforcer.learned],
      memories: memories.filter(({ disposed }) => disposed === 0).length,
      host: host.held,
      timers: this.clock.pending,
    };
  }
}

Deno.test("a switch holds after a week what it held at the beginning", async () => {
  using world = new World(Number(Deno.env.get("CSVN_SEED") ?? 7));
  const { net, vms } = world;
  const fresh = await world.held();
  const end = world.clock.now() + 7 * DAY;
  let things = 0;
  while (world.clock.now() < end) {
    await world.happen();
    things++;
  }
  assert(things > 500, `only ${things} things happened`);
  assert(net.operator.circuits.total > 1000, `only ${net.operator.circuits.total} circuits`);
  world.policies = open;
  net.host.connects = 0;
  assertEquals(await world.held(), fresh);

  // And everything goes as it went: arenas of the first size, all ids, all windows.
  net.memories.length = 0;
  for (const fake of vms) {
    const tickets = vms.map((other, i) => fake.connect(other.vm.identity.ipv4.text, 80, { fromPort: 1 + i }));
    await world.clock.pass(1);
    assertEquals(tickets.map((ticket) => fake.errno(ticket)), vms.map(() => 0));
    world.closeAll();
    await world.clock.pass(1);
  }
  for (const fake of vms) {
    let ids = 0;
    while (fake.vm.ids.take() !== undefined) ids++;
    assertEquals(ids, limits.maxCircuits);
  }
  assertEquals(new Set(net.memories.map(({ length }) => length)), new Set([limits.arenaBytes]));
});
