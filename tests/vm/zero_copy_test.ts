/**
 * Programs that map their circuits, between two real guests: what they send arrives, and what they must not see or do they do not.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Guest } from "../../tools/testbed/guest.ts";
import { plugDevice, unplugDevice } from "../../tools/testbed/hotplug.ts";
import { installPrograms, listens, passes } from "../support/guest_programs.ts";
import { bootGuests } from "../support/guests.ts";
import { LineCommand } from "../support/line_command.ts";
import { until } from "../support/until.ts";

/** An echo by the socket API, which says how each connection ended. */
const SERVER = `
import errno, socket, threading
server = socket.create_server(("", 7000), backlog=64)
def handle(c):
    try:
        while data := c.recv(1 << 16):
            c.sendall(data)
        print("end of file", flush=True)
    except OSError as e:
        print(errno.errorcode[e.errno], flush=True)
    c.close()
while True:
    threading.Thread(target=handle, args=server.accept()[:1]).start()
`;

/** Takes connections until their clients close, and says a word on those to one of its ports. */
const SINK = `
import socket, threading
def handle(c, word):
    try:
        c.sendall(word)
        while c.recv(1 << 16): pass
    except OSError: pass
    c.close()
def serve(port, word):
    server = socket.create_server(("", port), backlog=64)
    while True:
        threading.Thread(target=handle, args=(server.accept()[0], word)).start()
threading.Thread(target=serve, args=(7010, b"word")).start()
serve(7020, b"")
`;

Deno.test("programs that map their circuits", async (t) => {
  let forbidden = 0;
  await using vms = await bootGuests(["web", "client", "lender"], {
    net: {
      limits: { arenaIdleMs: 500 },
      verdict: ({ destination }) => ({ allow: destination.port !== forbidden, reason: "as the test says" }),
    },
    guest: { hotplug: true },
  });
  const { net } = vms;
  const web = vms.guests["web"]!;
  const client = vms.guests["client"]!;
  const lender = vms.guests["lender"]!;
  const address = vms.address("web");
  await installPrograms([web, client]);
  for (const [name, text] of [["server", SERVER], ["sink", SINK]] as const) {
    for (const guest of [web, lender]) {
      await guest.run(`cat >/tmp/${name}.py`, { stdin: text, check: true });
      guest.spawn(`exec python3 /tmp/${name}.py >>/tmp/${name}.log`, { stdin: false });
    }
  }
  web.spawn("exec echo 7001", { stdin: false });
  for (const port of [7000, 7001, 7010, 7020]) await listens(web, port);
  for (const port of [7000, 7010]) await listens(lender, port);
  const circuits = async (guest: Guest): Promise<number> =>
    Number((await guest.run("cat /sys/class/net/csvn0/csvn/circuits", { check: true })).stdout);
  const nothingLeft = (): Promise<unknown> => until("no circuit", () => net.csvn.status().circuits.open === 0);

  for (const [how, port] of [["map", 7001], ["copy", 7001], ["map", 7000], ["mix", 7001], ["mix", 7000]] as const) {
    await t.step(`an echo: ${how}, ${port === 7001 ? "zero copy" : "sockets"} at the other end`, async () => {
      await passes(client, `zero pump ${address} ${port} 20000000 ${how} ${Date.now()}`, 180_000);
    });
  }

  await t.step("a file straight into the ring, through a relay, to an ordinary reader", async () => {
    await client.run("head -c 40M /dev/urandom >/tmp/file", { check: true });
    const { stdout: sent } = await client.run("sha256sum </tmp/file", { check: true });
    const reading = client.run("socat -u TCP-LISTEN:7030,reuseaddr - | sha256sum", { check: true });
    await listens(client, 7030);
    web.spawn(`exec relay 7031 ${vms.address("client")} 7030`, { stdin: false });
    await listens(web, 7031);
    await client.run(`send_file ${address} 7031 /tmp/file`, { check: true });
    assertEquals((await reading).stdout, sent);
  });

  await t.step("a relay both ways", async () => {
    web.spawn(`exec relay 7032 ${vms.address("lender")} 7000`, { stdin: false });
    await listens(web, 7032);
    await passes(client, `zero pump ${address} 7032 5000000 mix ${Date.now()}`, 180_000);
  });

  await t.step("the end of each half", async () => {
    web.spawn("zero halves serve 7040 >/tmp/halves.log", { stdin: false });
    await listens(web, 7040);
    await passes(client, `zero halves ${address} 7040`);
    await until("the other half", async () => (await web.run("cat /tmp/halves.log")).stdout === "passed\n");
  });

  await t.step("what is refused", async () => void await passes(client, `zero rights ${address} 7010`));
  await t.step("fork", async () => void await passes(client, `zero inherit ${address} 7000`));

  await t.step("the memory goes with the connection", async () => {
    await nothingLeft();
    const said = await passes(client, `zero ends ${address} 7000 /sys/class/net/csvn0/csvn/circuits`);
    assertEquals(
      said,
      [
        "close",
        "close of what was not touched",
        "disconnect",
        "disconnect, the second mapping",
        "close under a thread's hands",
      ]
        .map((what) => `${what}: SIGBUS\n`).join(""),
    );
  });

  for (const what of ["tail ahead", "tail one too far", "tail back", "head ahead", "state", "everything"]) {
    await t.step(
      `a program that scribbles over its own control page (${what}) hurts its own circuit alone`,
      async () => {
        for (const port of [7000, 7001]) {
          await web.run(": >/tmp/server.log");
          const said = await passes(client, `zero scribble ${address} ${port} '${what}'`);
          if (what === "state") continue; // FIN and CLOSED and RESET: an end, if a strange one
          assertEquals(said, `${what}: ECONNRESET\n`);
          if (port === 7000) {
            await until(
              "the server's word",
              async () => (await web.run("cat /tmp/server.log")).stdout.includes("ECONNRESET"),
            );
          }
        }
      },
    );
  }

  await t.step("every byte of every page: nothing of a neighbour, living or dead", async () => {
    await nothingLeft();
    await passes(client, `zero look ${address} 7020 40`, 180_000);
  });

  await t.step("threads that read while their connection is closed and its memory goes to the next", async () => {
    await passes(client, `zero storm ${address} 7020 300`, 180_000);
  });

  await t.step("1,000 mappings leave nothing behind", async () => {
    await nothingLeft();
    await passes(client, `zero cycles ${address} 7020 50`, 120_000); // what is made once is made
    const memory = async (): Promise<number> =>
      Number(
        /\d+/.exec(
          (await client.run("sync; echo 3 >/proc/sys/vm/drop_caches; grep MemAvailable /proc/meminfo")).stdout,
        )![0],
      );
    const before = await memory();
    await passes(client, `zero cycles ${address} 7020 1000`, 180_000);
    await nothingLeft();
    assertEquals(await circuits(client), 0);
    const lost = before - await memory();
    assert(lost < 4000, `${lost} KiB less`); // a page for each would be 4,000
  });

  await t.step("a module that is mapped cannot be removed; when it is not, it can", async () => {
    using holding = new LineCommand(client, `zero hold ${address} 7010`);
    assertEquals(await holding.line(), "mapped");
    assertEquals(await holding.ask("touch"), "own nothing, peer's nothing");
    assertEquals(await holding.ask("close"), "closed");
    assertEquals(await holding.ask("touch"), "own SIGBUS, peer's SIGBUS");
    assertMatch((await client.run("rmmod csvn 2>&1")).stdout, /in use|busy|temporarily unavailable/i);
    assertEquals(await holding.ask("unmap"), "unmapped");
    await client.run("rmmod csvn", { check: true });
    await client.run("insmod /usr/lib/csvn/csvn.ko && until [ -e /sys/class/net/csvn0 ]; do sleep 0.05; done", {
      check: true,
    });
  });

  await t.step("policy cuts the connection: what has come is read, then the memory goes", async () => {
    using holding = new LineCommand(client, `zero hold ${address} 7010`);
    assertEquals(await holding.line(), "mapped");
    assertEquals(await holding.ask("wait"), "readable");
    forbidden = 7010;
    net.csvn.revise();
    forbidden = 0;
    assertEquals(await holding.ask("read"), "bytes");
    await until("the mapping ends", async () => await holding.ask("touch") === "own SIGBUS, peer's SIGBUS");
    assertEquals(await holding.ask("close"), "closed");
    await passes(client, `zero pump ${address} 7001 100000 mix 1`);
  });

  await t.step("the peer's VM dies: what it sent is read, then the memory goes", async () => {
    using holding = new LineCommand(client, `zero hold ${vms.address("lender")} 7010`);
    assertEquals(await holding.line(), "mapped");
    assertEquals(await holding.ask("wait"), "readable");
    await lender.kill();
    await until("it is gone", () => net.csvn.status().vms.length === 2);
    assertEquals(await holding.ask("read"), "bytes");
    await until("the mapping ends", async () => await holding.ask("touch") === "own SIGBUS, peer's SIGBUS");
    await passes(client, `zero pump ${address} 7001 100000 mix 1`);
  });

  await t.step("the device is unplugged under a mapping", async () => {
    using holding = new LineCommand(client, `zero hold ${address} 7010`);
    assertEquals(await holding.line(), "mapped");
    assertEquals(await holding.ask("wait"), "readable");
    await unplugDevice(client);
    assertEquals(await holding.ask("touch"), "own SIGBUS, peer's SIGBUS");
    assertEquals(await holding.ask("error"), "ECONNRESET");
    assertEquals(await holding.ask("close"), "closed");
    assertEquals(await holding.ask("touch"), "own SIGBUS, peer's SIGBUS");
    await plugDevice(client, vms.socket("client"));
    await until(
      "it is back",
      async () => (await client.run("ip route get 10.77.0.1")).stdout.includes("csvn0"),
      10_000,
    );
    await passes(client, `zero pump ${address} 7001 100000 mix 1`);
  });

  await t.step("the kernels have nothing to complain of", async () => {
    for (const guest of [web, client]) {
      const { stdout } = await guest.run(
        "dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace|scheduling while|general protection|refcount' || true",
      );
      assertEquals(stdout, "", `${guest.name}: ${stdout}`);
    }
    assert(!net.log.some((line) => line.includes("a bug of csvn's")), net.log.join("\n"));
    // The one who scribbled is told of by the other end.
    assertStringIncludes(net.log.join("\n"), "client broke the ring's rules, says web");
  });
});
