import { assertEquals } from "@std/assert";
import { FileWatch } from "../../../src/host/file_watch.ts";
import { CapturedLog } from "../../support/captured_log.ts";
import { FakeClock, settle } from "../../support/fake_clock.ts";
import { until } from "../../support/until.ts";

/** What a test does in a directory of its own. */
interface Place {
  readonly directory: string;
  write(path: string, text?: string): Promise<void>;
  link(path: string, target: string): Promise<void>;
  mkdir(path: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Put one thing in another's place. */
  swap(from: string, to: string): Promise<void>;
}

function placeIn(directory: string): Place {
  const at = (path: string): string => `${directory}/${path}`;
  return {
    directory,
    write: (path, text = path) => Deno.writeTextFile(at(path), text),
    // As configuration management does: one is always there.
    link: async (path, target) => {
      await Deno.symlink(target, at(`${path}~`));
      await Deno.rename(at(`${path}~`), at(path));
    },
    mkdir: (path) => Deno.mkdir(at(path), { recursive: true }),
    remove: (path) => Deno.remove(at(path), { recursive: true }),
    swap: async (from, to) => {
      await Deno.rename(at(to), at(`${to}~`));
      await Deno.rename(at(from), at(to));
    },
  };
}

/** Watch what a test has set up, and do one thing after the other: each must be told. */
async function noticed(
  path: string,
  setUp: (place: Place) => Promise<void>,
  ...changes: ((place: Place) => Promise<void>)[]
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
  const place = placeIn(directory);
  await setUp(place);
  {
    let told = 0;
    using _ = new FileWatch([`${directory}/${path}`], () => void told++);
    for (const [i, change] of changes.entries()) {
      // What the one before has caused is over.
      await new Promise((resolve) => setTimeout(resolve, 300));
      told = 0;
      await change(place);
      await until(`change ${i + 1}`, () => told);
    }
  }
  await Deno.remove(directory, { recursive: true });
}

Deno.test("FileWatch: a link's target that is not there yet is noticed when it comes, directories and all", async () => {
  await noticed(
    "resolv.conf",
    ({ directory, link }) => link("resolv.conf", `${directory}/run/resolve/stub.conf`),
    async ({ mkdir, write }) => {
      await mkdir("run/resolve");
      await write("run/resolve/stub.conf");
    },
    ({ write }) => write("run/resolve/stub.conf", "another one"),
  );
});

Deno.test("FileWatch: a target whose directory is removed and made anew is noticed each time", async () => {
  const make = async ({ mkdir, write }: Place): Promise<void> => {
    await mkdir("run/resolve");
    await write("run/resolve/stub.conf");
  };
  await noticed(
    "resolv.conf",
    async (place) => {
      await make(place);
      await place.link("resolv.conf", "run/resolve/stub.conf");
    },
    ({ remove }) => remove("run/resolve"),
    make,
    async (place) => {
      await place.remove("run");
      await make(place);
    },
    ({ write }) => write("run/resolve/stub.conf", "another one"),
  );
});

Deno.test("FileWatch: a link in the middle of a chain, or of a path, is noticed when it leads elsewhere", async () => {
  await noticed(
    "etc/resolv.conf",
    async ({ mkdir, write, link }) => {
      for (const name of ["etc", "alternatives", "one", "two"]) await mkdir(name);
      for (const name of ["one/conf", "two/conf"]) await write(name);
      await link("current", "one");
      await link("alternatives/resolv", "../current/conf");
      await link("etc/resolv.conf", "../alternatives/resolv");
    },
    ({ link }) => link("current", "two"),
    ({ write }) => write("two/conf", "another one"),
    ({ directory, link }) => link("alternatives/resolv", `${directory}/one/conf`),
    ({ write }) => write("one/conf", "another one"),
  );
});

Deno.test("FileWatch: a directory on the way is noticed when another one takes its place", async () => {
  await noticed(
    "etc/csvn/policies/p.yaml",
    async ({ mkdir, write }) => {
      for (const name of ["etc/csvn/policies", "new/csvn/policies", "newer/policies"]) await mkdir(name);
      await write("etc/csvn/policies/p.yaml");
    },
    ({ swap }) => swap("new", "etc"),
    ({ write }) => write("etc/csvn/policies/p.yaml"),
    ({ swap }) => swap("newer", "etc/csvn"),
    ({ write }) => write("etc/csvn/policies/p.yaml"),
  );
});

Deno.test("FileWatch: a directory that two watch is noticed by both when another one takes its place, and what is in it then", async () => {
  const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
  const { mkdir, write, swap } = placeIn(directory);
  for (const name of ["etc", "new"]) await mkdir(name);
  for (const name of ["etc/a", "etc/b"]) await write(name);
  {
    const told = [0, 0];
    const both = async (what: string): Promise<void> => {
      await until(what, () => told.every((count) => count > 0));
      await new Promise((resolve) => setTimeout(resolve, 300));
      told.fill(0);
    };
    using _a = new FileWatch([`${directory}/etc/a`], () => void told[0]!++);
    using _b = new FileWatch([`${directory}/etc/b`], () => void told[1]!++);
    await swap("new", "etc");
    await both("another directory");
    await write("etc/a");
    await write("etc/b");
    await both("what is written in it");
  }
  await Deno.remove(directory, { recursive: true });
});

Deno.test("FileWatch: what the links in a directory lead to is noticed as well", async () => {
  await noticed(
    "policies",
    async ({ mkdir, write, link }) => {
      for (const name of ["policies", "shared"]) await mkdir(name);
      await write("shared/a.yaml");
      await link("policies/a.yaml", "../shared/a.yaml");
      await link("policies/b.yaml", "../shared/later/b.yaml");
    },
    ({ write }) => write("shared/a.yaml", "another one"),
    async ({ mkdir, write }) => {
      await mkdir("shared/later");
      await write("shared/later/b.yaml");
    },
    ({ write }) => write("policies/c.yaml"),
  );
});

Deno.test("FileWatch: links in a circle lead nowhere, until one of them leads elsewhere", async () => {
  await noticed(
    "a",
    async ({ link }) => {
      await link("a", "b");
      await link("b", "a");
    },
    ({ link }) => link("b", "c"),
    ({ write }) => write("c"),
  );
});

Deno.test("FileWatch: .. is what it is to the system: above where a link leads", async () => {
  await noticed(
    "link/../p.yaml",
    async ({ mkdir, write, link }) => {
      await mkdir("deep/below");
      await write("deep/p.yaml");
      await link("link", "deep/below");
    },
    ({ write }) => write("deep/p.yaml", "another one"),
  );
});

Deno.test("FileWatch: one that begins while another tells a change is told as well", async () => {
  const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
  const { write } = placeIn(directory);
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  let told = 0;
  let second: FileWatch | undefined;
  stack.use(
    new FileWatch([directory], () => {
      second ??= stack.use(new FileWatch([`${directory}/later`], () => void told++));
    }),
  );
  await write("file");
  await until("it has begun", () => told);
  await new Promise((resolve) => setTimeout(resolve, 300));
  told = 0;
  await write("later");
  await until("its file", () => told);
});

/** Watchers that a test sees to. */
class Watchers implements Disposable {
  readonly #real = Deno.watchFs;
  started = 0;
  /** Watching fails with this. */
  error: Error | undefined;
  /** Those that wait for an event. */
  readonly #waiting: PromiseWithResolvers<IteratorResult<Deno.FsEvent>>[] = [];

  constructor() {
    Deno.watchFs = () => {
      if (this.error) throw this.error;
      this.started++;
      const next = (): Promise<IteratorResult<Deno.FsEvent>> => {
        const waiting = Promise.withResolvers<IteratorResult<Deno.FsEvent>>();
        this.#waiting.push(waiting);
        return waiting.promise;
      };
      const close = (): void => {
        for (const { resolve } of this.#waiting.splice(0)) resolve({ done: true, value: undefined });
      };
      return { close, [Symbol.asyncIterator]: () => ({ next }) } as unknown as Deno.FsWatcher;
    };
  }

  tell(event: Partial<Deno.FsEvent>): void {
    const value = { kind: "modify", paths: [], ...event } as Deno.FsEvent;
    for (const { resolve } of this.#waiting.splice(0)) resolve({ done: false, value });
  }

  fail(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  [Symbol.dispose](): void {
    Deno.watchFs = this.#real;
  }
}

Deno.test("FileWatch does nothing any more after its disposal, whatever was under way", async () => {
  using watchers = new Watchers();
  const clock = new FakeClock();
  let told = 0;
  const event = { paths: ["/nowhere"] };
  for (
    const end of [
      (watch: FileWatch) => {
        watchers.tell(event);
        watch[Symbol.dispose]();
      },
      async (watch: FileWatch) => {
        watchers.tell(event);
        await settle();
        watch[Symbol.dispose]();
      },
      (watch: FileWatch) => {
        watchers.fail(new Error("of the test"));
        watch[Symbol.dispose]();
      },
    ]
  ) {
    watchers.started = 0;
    const watch = new FileWatch(["/nowhere"], () => void told++, clock);
    await settle();
    await end(watch);
    await clock.pass(10_000);
    assertEquals([watchers.started, told, clock.pending], [1, 0, 0]);
  }
});

Deno.test("FileWatch: events that are lost count as a change", async () => {
  using watchers = new Watchers();
  const clock = new FakeClock();
  let told = 0;
  using _ = new FileWatch(["/nowhere"], () => void told++, clock);
  await settle();
  watchers.tell({ kind: "other", flag: "rescan" });
  await clock.pass(1_000);
  assertEquals(told, 1);
});

Deno.test("FileWatch: watching that fails is said once, and tried again until it works; meanwhile a change is told now and then", async () => {
  await using log = await CapturedLog.begin();
  const { lines } = log;
  using watchers = new Watchers();
  const clock = new FakeClock();
  let told = 0;
  watchers.error = new Error("too many watches");
  {
    using _ = new FileWatch(["/nowhere"], () => void told++, clock);
    await clock.pass(9_500);
    assertEquals([watchers.started, told, lines], [0, 1, [
      "changes of /nowhere cannot be watched: too many watches; they are looked for every 5 s",
    ]]);
    watchers.error = undefined;
    await clock.pass(1_000);
    assertEquals([watchers.started, told, lines.slice(1)], [1, 2, ["changes of /nowhere are noticed at once again"]]);
    // One that works may fail later.
    watchers.fail(new Error("of the test"));
    await clock.pass(5_000);
    assertEquals([watchers.started, told, lines.length], [2, 3, 4]);
  }
  assertEquals(clock.pending, 0);
});
