import { assertEquals, assertRejects } from "@std/assert";
import { Errno, SystemError } from "../../../src/errno.ts";
import { type Group, PortGroups } from "../../../src/host/port_groups.ts";
import { CapturedLog } from "../../support/captured_log.ts";
import { FakeClock, settle } from "../../support/fake_clock.ts";

/** A control group that is none: its files, its processes, its children. It refuses what the kernel does. */
class FakeGroup implements Group {
  readonly children = new Map<string, FakeGroup>();
  readonly files = new Map<string, string>();
  readonly processes = new Set<number>();
  /** Groups in it are removed when this has resolved. */
  removing = Promise.resolve();

  constructor(readonly path: string, readonly parent?: FakeGroup, public controllers = "cpu memory cpuset") {}

  child(name: string): FakeGroup {
    return this.children.get(name) ?? new FakeGroup(`${this.path}/${name}`, this, "");
  }

  make(): Promise<boolean> {
    const name = this.path.split("/").at(-1)!;
    const made = this.parent !== undefined && !this.parent.children.has(name);
    if (made) this.parent.children.set(name, this);
    return Promise.resolve(made);
  }

  async write(file: string, text: string): Promise<void> {
    await Promise.resolve();
    const name = this.path.split("/").at(-1)!;
    if (this.parent && !this.parent.children.has(name)) throw new SystemError(`write ${file}`, Errno.ENOENT);
    const known = this.parent ? this.parent.child(name) : this;
    const lacks = (what: string): void => {
      if (!known.controllers.includes(what)) throw new SystemError(`write ${file}`, Errno.ENOENT);
    };
    if (file === "cgroup.procs") {
      if (text !== "") known.processes.add(Number(text));
    } else if (file === "cgroup.subtree_control") {
      lacks(text.slice(1));
      known.files.set(file, `${known.files.get(file) ?? ""}${text} `);
    } else {
      const [controller] = file.split(".");
      if (!known.parent?.files.get("cgroup.subtree_control")?.includes(controller!)) {
        throw new SystemError(`write ${file}`, Errno.ENOENT);
      }
      known.files.set(file, text);
    }
  }

  async remove(): Promise<void> {
    await this.parent!.removing;
    const name = this.path.split("/").at(-1)!;
    if (this.parent!.child(name).processes.size > 0) throw new SystemError("remove a group", Errno.EBUSY);
    this.parent!.children.delete(name);
  }
}

Deno.test("a VM's port is in its group, with what it may have, as long as it is there", async () => {
  const root = new FakeGroup("/csvn");
  const clock = new FakeClock();
  const web = { cpuWeight: 200, memoryMax: 2 ** 26, cpus: "0-1" };
  await using groups = await PortGroups.open(root, [web, {}], clock);
  assertEquals(root.files.get("cgroup.subtree_control"), "+cpu +memory +cpuset ");
  await groups.enter("web", 11, web);
  await groups.enter("db", 12, {});
  assertEquals([...root.children.get("web")!.files], [["cpu.weight", "200"], ["memory.max", "67108864"], [
    "cpuset.cpus",
    "0-1",
  ]]);
  assertEquals([...root.children.values()].map(({ processes }) => [...processes]), [[11], [12]]);
  // It takes a while to end.
  const left = groups.leave("web");
  await clock.pass(1000);
  assertEquals(root.children.has("web"), true);
  root.children.get("web")!.processes.clear();
  await clock.pass(100);
  await left;
  assertEquals([...root.children.keys()], ["db"]);
});

Deno.test("a VM that comes again keeps its group", async () => {
  const root = new FakeGroup("/csvn");
  const clock = new FakeClock();
  await using groups = await PortGroups.open(root, [], clock);
  await groups.enter("web", 11, {});
  const left = groups.leave("web");
  await settle();
  await groups.enter("web", 12, {});
  root.children.get("web")!.processes.delete(11);
  await clock.pass(100);
  await left;
  assertEquals([...root.children.get("web")!.processes], [12]);
});

Deno.test("a VM that comes while its group is being removed has one", async () => {
  const root = new FakeGroup("/csvn");
  await using groups = await PortGroups.open(root, [], new FakeClock());
  await groups.enter("web", 11, {});
  root.children.get("web")!.processes.clear();
  const { promise, resolve } = Promise.withResolvers<void>();
  root.removing = promise;
  const left = groups.leave("web");
  await settle();
  const entered = groups.enter("web", 12, {});
  await settle();
  resolve();
  await Promise.all([left, entered]);
  assertEquals([...root.children.get("web")!.processes], [12]);
});

Deno.test("a VM that goes while its group is being made leaves none", async () => {
  const root = new FakeGroup("/csvn");
  const clock = new FakeClock();
  await using groups = await PortGroups.open(root, [], clock);
  const entered = groups.enter("web", 11, {});
  const left = groups.leave("web");
  await entered;
  root.children.get("web")!.processes.clear();
  await clock.pass(100);
  await left;
  assertEquals(root.children.size, 0);
});

Deno.test("a group that is found has nothing of what it had before", async () => {
  const root = new FakeGroup("/csvn");
  const web = { cpuWeight: 200, memoryMax: 2 ** 26, cpus: "0-1" };
  {
    // Its port outlives its switch.
    await using groups = await PortGroups.open(root, [web], new FakeClock());
    await groups.enter("web", 11, web);
    await groups.enter("db", 12, {});
  }
  await using groups = await PortGroups.open(root, [{ cpuWeight: 50 }], new FakeClock());
  await groups.enter("web", 13, { cpuWeight: 50 });
  assertEquals([...root.children.get("web")!.files], [
    ["cpu.weight", "50"],
    ["memory.max", "max"],
    ["cpuset.cpus", "\n"],
  ]);
  // Where a controller is not in use, nothing is missing.
  root.files.delete("cgroup.subtree_control");
  await groups.enter("db", 14, {});
  assertEquals([...root.children.get("db")!.processes], [12, 14]);
});

Deno.test("groups whose ports have ended go with the switch, others stay; nothing is waited for", async () => {
  const root = new FakeGroup("/csvn");
  const clock = new FakeClock();
  const lefts: Promise<void>[] = [];
  {
    await using groups = await PortGroups.open(root, [], clock);
    for (const [i, name] of ["web", "db"].entries()) {
      await groups.enter(name, i, {});
      lefts.push(groups.leave(name));
    }
    await settle();
    root.children.get("web")!.processes.clear();
  }
  await Promise.all(lefts);
  assertEquals([[...root.children.keys()], clock.pending], [["db"], 0]);
});

Deno.test("a group that cannot be removed is told of once, after a minute", async () => {
  await using log = await CapturedLog.begin();
  const root = new FakeGroup("/csvn");
  const clock = new FakeClock();
  await using groups = await PortGroups.open(root, [], clock);
  await groups.enter("web", 11, {});
  const left = groups.leave("web");
  for (let i = 0; i < 600; i++) await clock.pass(100);
  await left;
  assertEquals(log.lines.filter((line) => line.includes("remove a group")).length, 1);
});

Deno.test("open() says what is missing", async () => {
  await assertRejects(
    () => PortGroups.open(new FakeGroup("/csvn", undefined, "memory"), [{ cpuWeight: 5 }], new FakeClock()),
    SystemError,
    "ENOENT",
  );
});
