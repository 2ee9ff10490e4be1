import { getLogger } from "@logtape/logtape";
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_LIMITS } from "../../../src/circuit/limits.ts";
import { fromHost } from "../../../src/circuit/log_budget.ts";
import { Notices } from "../../../src/circuit/notices.ts";
import type { Publication } from "../../../src/circuit/publish.ts";
import { CLOSE_VIOLATION, EventType, RequestType } from "../../../src/circuit/records.ts";
import { Errno } from "../../../src/errno.ts";
import { formatEndpoint, parseAddress } from "../../../src/net/address.ts";
import { CapturedLog } from "../../support/captured_log.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { FakeNet, type FakeVm, settle } from "../../support/fake_plane.ts";

/** Keep the log's lines of the default level while something is done. */
async function logged(act: (lines: string[]) => void | Promise<void>): Promise<void> {
  await using log = await CapturedLog.begin();
  await act(log.levelled);
}

Deno.test("Notices tells of each kind and of each who causes them so many, at its level, and how many were left out", async () => {
  await logged(async (lines) => {
    const clock = new FakeClock();
    const limits = { ...DEFAULT_LIMITS, denialBurst: 1, denialsPerSecond: 1, denialSummaryMs: 1_000 };
    {
      using notices = new Notices(limits, clock);
      const log = getLogger(["csvn", "test"]);
      const [knocks, rings] = [notices.of("knocks", log, "info"), notices.of("rings", log, "warn")];
      for (let i = 0; i < 3; i++) {
        for (const who of ["a", fromHost("a")]) knocks.tell(who, "{who} knocks", { who });
        rings.tell("a", "a rings", {});
      }
      assertEquals(lines, ["info a knocks", "info host to a knocks", "warning a rings"]);
      await clock.pass(1_000);
      assertEquals(lines.splice(0).slice(3), [
        "info 2 more knocks of a were left out",
        "info 2 more knocks of host to a were left out",
        "warning 2 more rings of a were left out",
      ]);
      for (let i = 0; i < 2; i++) rings.tell("a", "a rings", {});
    }
    assertEquals([lines, clock.pending], [["warning a rings", "warning 1 more rings of a were left out"], 0]);
  });
});

const TIMES = 60;
const HOST = { address: parseAddress("192.0.2.1"), port: 8080 };
const published: Publication = { protocol: "tcp", host: HOST, vm: "vm2", port: 80 };

/** What a guest, or a client outside, does again and again, and how the lines about it are called. */
interface Flood {
  readonly of: string;
  readonly options?: ConstructorParameters<typeof FakeNet>[0];
  /** Once, before. */
  readonly first?: (net: FakeNet, a: FakeVm, b: FakeVm) => void | Promise<void>;
  readonly again: (net: FakeNet, a: FakeVm, b: FakeVm, i: number) => void | Promise<void>;
  /** Lines that each time is one for. */
  readonly each?: number;
}

/** Let vm1 connect to vm2, or to the outside; its end. */
async function connect(a: FakeVm, i: number, address = "10.77.0.3"): Promise<number> {
  const ticket = a.connect(address, 80, { fromPort: 1000 + i });
  await settle();
  return a.circuit(ticket);
}

const floods: Record<string, Flood> = {
  "records that are none": {
    of: "wrong control records of vm1",
    again: (_, a) => void a.post(99, [], 24),
  },
  "drivers that come up": {
    of: "starts of the driver of vm1",
    again: (_, a) => void a.hello(),
  },
  "broken devices": {
    of: "faults of vm1",
    again: (net, a) => {
      net.operator.queueFault(a.vm, 2, "because of the test");
      a.reset();
      a.hello();
    },
  },
  "connections to where nobody listens": {
    of: "connections to where nobody listens of vm1",
    again: (_, a, __, i) => void a.connect("10.77.0.3", 81, { fromPort: 1000 + i }),
  },
  "connections that QEMU refuses to map": {
    of: "connections for which there is no arena of vm1",
    first: (_, a, b) => {
      b.listen(80);
      a.mapError = new Error("of the test");
    },
    again: async (_, a, __, i) => {
      a.connect("10.77.0.3", 80, { fromPort: 1000 + i });
      await settle();
    },
  },
  "arenas that are opened and lost again": {
    of: "arenas opened and closed of vm1",
    first: (_, __, b) => void b.listen(80, 80, 1000),
    again: async (_, a, b, i) => {
      await connect(a, i);
      a.hello();
      b.close(b.incoming.at(-1)!);
      await settle();
    },
    each: 2,
  },
  "arenas that are not given back": {
    of: "arenas that are not given back of vm1",
    first: (_, a, b) => {
      b.listen(80, 80, 1000);
      a.answersArenas = false;
    },
    again: async (net, a, b, i) => {
      const ticket = a.connect("10.77.0.3", 80, { fromPort: 1000 + i });
      await settle();
      const arena = a.of(EventType.ARENA_PREPARE).at(-1)!.view.getUint32(16, true);
      for (const type of [RequestType.ARENA_PREPARED, RequestType.ARENA_VISIBLE]) {
        a.arena(type, arena);
        await settle();
      }
      a.close(a.circuit(ticket));
      b.close(b.incoming.at(-1)!);
      await net.clock.pass(1);
      a.arena(RequestType.ARENA_RETIRED, arena, Errno.EIO);
      await settle();
    },
    options: { limits: { arenaIdleMs: 1, denialsPerSecond: 0 } },
  },
  "violations that a peer tells of": {
    of: "violations of the ring's rules of vm1",
    first: (_, __, b) => void b.listen(80, 80, 1000),
    again: async (_, a, __, i) => void a.close(await connect(a, i), CLOSE_VIOLATION),
  },
  "violations that the data plane finds": {
    of: "violations of the ring's rules of vm1",
    options: { outside: true },
    again: async (net, a, _, i) => {
      const circuit = await connect(a, i, "192.0.2.9");
      [...net.host.circuits.keys()].at(-1)!.done(0n, 0n, Errno.EPROTO);
      a.close(circuit);
    },
  },
  "sockets that listen and do not, of a published port": {
    of: "ports that are published of vm2",
    options: { publish: [published] },
    again: async (_, __, b) => {
      b.listen(80);
      await settle();
      b.unlisten(80);
    },
  },
  "the same, of a port that somebody else has": {
    of: "ports that cannot be published of vm2",
    options: { publish: [published] },
    first: (net) => void (net.host.bindErrno = Errno.EADDRINUSE),
    again: async (_, __, b) => {
      b.listen(80);
      await settle();
      b.unlisten(80);
    },
  },
  "clients of a published port whose backlog is full": {
    of: "refused connections of host to vm2",
    options: { publish: [published], limits: { maxInbound: 0 } },
    first: async (net, _, b) => {
      b.listen(80, 80, 0);
      await settle();
      net.host.accept(formatEndpoint(HOST), { address: parseAddress("192.0.2.9"), port: 999 });
    },
    again: (net, _, __, i) => {
      net.host.accept(formatEndpoint(HOST), { address: parseAddress("192.0.2.9"), port: 1000 + i });
    },
  },
};

Deno.test("nothing that a guest or a client outside does again and again fills the log, and all of it is counted", async (t) => {
  for (const [name, { of, options, first, again, each = 1 }] of Object.entries(floods)) {
    await t.step(name, () =>
      logged(async (lines) => {
        const net = new FakeNet(options);
        {
          using _ = net;
          const [a, b] = [net.boot(), net.boot()];
          await first?.(net, a, b);
          await settle();
          lines.length = 0;
          for (let i = 0; i < TIMES; i++) await again(net, a, b, i);
          await settle();
        }
        const most = new Map<string, number>();
        for (const line of lines) {
          const kind = line.replace(/[\d.:]+/g, "#");
          most.set(kind, (most.get(kind) ?? 0) + 1);
        }
        assert([...most.values()].every((count) => count <= net.limits.denialBurst), JSON.stringify([...most]));
        const leftOut = lines.filter((line) => line.includes(` more ${of} were left out`))
          .reduce((sum, line) => sum + parseInt(line.split(" ")[1]!), 0);
        assert(
          Math.abs(leftOut - (TIMES * each - net.limits.denialBurst)) <= 2,
          `${leftOut} were left out, of the lines\n${lines.join("\n")}`,
        );
      }));
  }
});
