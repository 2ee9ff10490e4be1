/** The testbed itself, on a guest that has no csvn device. */
import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "@std/path";
import { Guest, GuestError } from "../../tools/testbed/guest.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { collect } from "../../tools/testbed/streams.ts";

const LIMIT = 1 << 24;
const VM = join(import.meta.dirname!, "..", "..", "tools", "vm.ts");

/** Is this process there? */
async function alive(pid: number): Promise<boolean> {
  try {
    await Deno.stat(`/proc/${pid}`);
    return true;
  } catch {
    return false;
  }
}

/** Run the command line tool. */
async function vm(
  args: string[],
  stdin = "",
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", VM, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdin)).catch(() => {});
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}

Deno.test("Guest runs commands", async (t) => {
  await using guest = await Guest.boot({
    name: "alice",
    module: false,
    progress: stderrProgress,
  });

  await t.step("run() keeps output, errors and status apart", async () => {
    assertEquals(await guest.run("echo out; echo err >&2; exit 3"), {
      code: 3,
      stdout: "out\n",
      stderr: "err\n",
    });
    assertEquals((await guest.run("kill -TERM $$")).code, 128 + 15);
  });

  await t.step("run() feeds input, more than the windows hold", async () => {
    const bytes = crypto.getRandomValues(new Uint8Array(65536));
    const text = bytes.toHex().repeat(8);
    const { stdout } = await guest.run("cat", { stdin: text });
    assert(stdout === text, "cat gave back something else");
    const none = await guest.run("cat; echo end");
    assertEquals(none.stdout, "end\n");
    // It does not have to read what it is given.
    assertEquals((await guest.run("true", { stdin: text })).code, 0);
  });

  await t.step("run() with check throws what went wrong", async () => {
    const error = await assertRejects(
      () => guest.run("echo reason >&2; false", { check: true }),
      GuestError,
      "alice: status 1",
    );
    assertStringIncludes(error.message, "reason");
  });

  await t.step("run() kills what takes too long, children too", async () => {
    await assertRejects(
      () => guest.run("sleep 4242 | cat", { timeoutMs: 300 }),
      GuestError,
      "killed after 300 ms",
    );
    await guest.run("while pgrep -f 'sleep 424[2]'; do sleep .05; done");
  });

  await t.step(
    "run() does not wait for what runs in the background",
    async () => {
      const { stdout } = await guest.run("(sleep 1000; echo late) & echo now");
      assertEquals(stdout, "now\n");
      assertEquals((await guest.run("jobs; pgrep -c sleep")).stdout, "1\n");
    },
  );

  await t.step("run() runs many at once", async () => {
    const all = await Promise.all(
      Array.from({ length: 40 }, (_, n) => guest.run(`echo ${n}; exit ${n}`)),
    );
    assertEquals(all.map(({ code }) => code), [...all.keys()]);
    assertEquals(
      all.map(({ stdout }) => stdout.trim()),
      [...all.keys()].map(String),
    );
  });

  await t.step("spawn() streams, takes input and signals", async () => {
    const cat = guest.spawn(
      "trap 'echo bye; exit 9' USR1; echo hi; read x; echo $x; while :; do sleep .1; done",
    );
    const reader = cat.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assertEquals((await reader.read()).value, "hi\n");
    const writer = cat.stdin.getWriter();
    await writer.write(new TextEncoder().encode("there\n"));
    assertEquals((await reader.read()).value, "there\n");
    await cat.kill(10);
    assertEquals((await reader.read()).value, "bye\n");
    assertEquals(await cat.status, { code: 9, signal: 0 });
    assertEquals((await reader.read()).done, true);
    await cat.stderr.cancel();
    await writer.abort();
  });

  await t.step("spawn() holds a command back that nobody reads", async () => {
    const yes = guest.spawn("yes | head -c 3000000; echo done >&2");
    const first = await Promise.race([
      yes.status.then(() => "ended"),
      new Promise((resolve) => setTimeout(() => resolve("waits"), 1_000)),
    ]);
    assertEquals(first, "waits");
    // And others go on meanwhile.
    assertEquals((await guest.run("echo x")).stdout, "x\n");
    const [output, errors] = await Promise.all([
      collect(yes.stdout, LIMIT),
      collect(yes.stderr, LIMIT),
    ]);
    assertEquals(output.length, 3_000_000);
    assertEquals(errors, "done\n");
  });

  await t.step("spawn() gives a terminal of the asked size", async () => {
    const shell = guest.spawn(
      "tty; stty size; read x; stty size; echo err >&2",
      {
        terminal: { rows: 33, columns: 101 },
        term: "xterm",
      },
    );
    await shell.resize({ rows: 44, columns: 99 });
    const writer = shell.stdin.getWriter();
    await writer.write(new TextEncoder().encode("\n"));
    const text = await collect(shell.stdout, LIMIT);
    assertStringIncludes(text, "/dev/pts/0\r\n");
    assertStringIncludes(text, "44 99\r\n");
    assertStringIncludes(text, "err\r\n");
    assertEquals((await shell.status).code, 0);
    await shell.stderr.cancel();
    await writer.close();
  });

  await t.step("the guest is as promised", async () => {
    const tools = "curl nginx python3 socat iperf3 redis-server redis-cli ip";
    await guest.run(`command -v ${tools}`, { check: true });
    const facts = await guest.run(
      "hostname; nproc; ls /sys/class/net; ls /mnt; touch /usr/x && echo rw",
    );
    assertEquals(facts.stdout, "alice\n2\nlo\nrw\n");
    const service = "nginx && curl -sS -o /dev/null -w '%{http_code}' localhost";
    assertEquals((await guest.run(service)).stdout, "200");
  });

  await t.step("reset() starts over, and commands in flight fail", async () => {
    const lost = assertRejects(
      () => guest.run("sleep 1000"),
      GuestError,
      "was reset",
    );
    await guest.reset();
    await lost;
    assertEquals((await guest.run("ls /usr/x")).code, 2);
  });

  await t.step("a guest that resets itself comes back too", async () => {
    const before = performance.now();
    await assertRejects(
      () => guest.run("busybox reboot -f; sleep 100"),
      GuestError,
      "has reset itself",
    );
    await guest.ready();
    // Its clock began anew.
    assertLess(Number((await guest.run("cut -d. -f1 /proc/uptime")).stdout), (performance.now() - before) / 1000);
  });

  await t.step("shutdown() ends QEMU", async () => {
    await guest.shutdown();
    assertEquals((await guest.exited).code, 0);
    assertEquals(await alive(guest.pid), false);
    await assertRejects(() => guest.run("true"), GuestError, "has ended");
  });
});

Deno.test("Guest.boot() puts a copy of a directory at /mnt", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.mkdir(join(dir, "sub dir"));
    await Deno.writeTextFile(join(dir, "sub dir", "new\nline ä"), "content");
    await Deno.writeTextFile(join(dir, "script"), "#!/bin/sh\necho ran\n");
    await Deno.chmod(join(dir, "script"), 0o751);
    await Deno.symlink("sub dir/new\nline ä", join(dir, "link"));
    await Deno.symlink("/nowhere", join(dir, "dangling"));
    await using guest = await Guest.boot({ copy: dir, module: false });
    const { stdout } = await guest.run(
      "cat /mnt/link; echo; /mnt/script; stat -c %a /mnt/script;" +
        "readlink /mnt/dangling; ls -A /mnt; echo more >> /mnt/script; echo $?",
    );
    assertEquals(
      stdout,
      "content\nran\n751\n/nowhere\ndangling\nlink\nscript\nsub dir\n0\n",
    );
    assertEquals(
      await Deno.readTextFile(join(dir, "script")),
      "#!/bin/sh\necho ran\n",
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("Guest names itself and its log when its QEMU dies", async () => {
  await using guest = await Guest.boot({ name: "victim", module: false });
  const waiting = assertRejects(() => guest.run("sleep 1000"), GuestError);
  setTimeout(() => Deno.kill(guest.pid, "SIGKILL"), 100);
  const { message } = await waiting;
  assertStringIncludes(message, "victim: QEMU has ended (SIGKILL)");
  assertStringIncludes(message, guest.logFile);
  assertStringIncludes(message, "csvn-init: ready");
});

Deno.test("Guest.boot() tells why a guest does not come up", async () => {
  const error = await assertRejects(
    () =>
      Guest.boot({
        name: "lost",
        module: false,
        kernelArgs: ["rdinit=/x", "init=/x"],
      }),
    GuestError,
    "lost: resets itself while it boots",
  );
  assertStringIncludes(error.message, "Kernel panic");
  await assertRejects(
    () => Guest.boot({ module: false, extraQemuArgs: ["-device", "bogus"] }),
    GuestError,
    "'bogus' is not a valid device model name",
  );
  await assertRejects(
    () => Guest.boot({ module: false, socket: "/nonexistent" }),
    Error,
    "no such socket",
  );
  await assertRejects(
    () => Guest.boot({ name: "slow", module: false, bootTimeoutMs: 100 }),
    GuestError,
    "slow: its agent did not answer in 100 ms",
  );
});

Deno.test("vm --exec is transparent", async () => {
  const result = await vm([
    "--exec",
    "tr a-z A-Z; echo err >&2; kill -9 $$",
  ], "input");
  assertEquals(result.stdout, "INPUT");
  assertEquals(result.stderr, "err\n");
  assertEquals(result.code, 137);
});

Deno.test("vm tells a wrong command line from a failure", async () => {
  const wrong = await vm(["--bogus"]);
  assertEquals(wrong.code, 2);
  assertEquals(wrong.stderr, "vm: unknown option --bogus; try --help\n");
  const failed = await vm(["--socket", "/nonexistent", "--exec", "true"]);
  assertEquals(failed.code, 1);
  assertEquals(
    failed.stderr,
    "vm: no switch at /nonexistent: there is no such socket\n",
  );
});

Deno.test("vm leaves no QEMU behind when it is killed", async () => {
  for (const signal of ["SIGINT", "SIGKILL"] as const) {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", VM, "--exec", "echo up; sleep 1000"],
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    const task = `/proc/${child.pid}/task/${child.pid}/children`;
    const pids = (await Deno.readTextFile(task)).trim().split(" ").map(Number);
    assertGreater(pids.length, 0);
    child.kill(signal);
    const { code } = await child.status;
    assertEquals(code, signal === "SIGINT" ? 130 : 137);
    await reader.cancel();
    const end = Date.now() + 5_000;
    while (
      Date.now() < end && (await Promise.all(pids.map(alive))).some(Boolean)
    ) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assertEquals(await Promise.all(pids.map(alive)), pids.map(() => false));
  }
});

Deno.test("vm says so when its QEMU dies", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", VM, "--exec", "echo up; echo err >&2; sleep 1000"],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const [first, all] = child.stderr.tee();
  const errors = collect(all, LIMIT);
  const readers = [child.stdout, first].map((stream) => stream.getReader());
  // Two streams have no order: what comes after the end of QEMU on one of them would be lost.
  for (const reader of readers) await reader.read();
  const task = `/proc/${child.pid}/task/${child.pid}/children`;
  for (const pid of (await Deno.readTextFile(task)).trim().split(" ").map(Number)) {
    // The other child is the switch's stand-in.
    if ((await Deno.readTextFile(`/proc/${pid}/cmdline`)).includes("qemu")) Deno.kill(pid, "SIGABRT");
  }
  const { code } = await child.status;
  for (const reader of readers) await reader.cancel();
  assertMatch(await errors, /^err\nvm: guest: QEMU has ended \(SIGABRT.*\); its log [^\n]*\n$/);
  assertEquals(code, 1);
});
