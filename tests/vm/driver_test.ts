/**
 * The driver, beside a switch that says what the operator would not say, or says nothing for a while.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Operator } from "../../src/circuit/operator.ts";
import { decodeHeader, decodeRequest, encodeReset, Layout, type SocketOptions } from "../../src/circuit/records.ts";
import { Errno } from "../../src/errno.ts";
import { PlaneDevice } from "../../src/ffi/device.ts";
import { parseAddress } from "../../src/net/address.ts";
import { bootGuests } from "../support/guests.ts";
import { until } from "../support/until.ts";

/** TCP_KEEPIDLE. */
function keepIdleOf(options: SocketOptions | undefined): number {
  return options ? new DataView(options.buffer).getUint32(Layout.options.keep_idle, true) : 0;
}

Deno.test("a driver bears with what its switch says, and with what it does not say", async (t) => {
  await using stack = new AsyncDisposableStack();
  // The guest's device, from underneath.
  let device: PlaneDevice | undefined;
  const { reply } = PlaneDevice.prototype;
  PlaneDevice.prototype.reply = function (...answer): void {
    device = this;
    reply.apply(this, answer);
  };
  stack.defer(() => void (PlaneDevice.prototype.reply = reply));
  // Requests that change options, and what answers them; while there is none, they are answered at once.
  const told: number[] = [];
  let held: (() => void)[] | undefined;
  const { control } = Operator.prototype;
  Operator.prototype.control = function (...asked): void {
    const [, , bytes, size] = asked;
    const request = decodeRequest(bytes, size, decodeHeader(bytes));
    if (request.type === "OPTIONS") told.push(keepIdleOf(request.options));
    if (request.type === "OPTIONS" && held) held.push(() => control.apply(this, asked));
    else control.apply(this, asked);
  };
  stack.defer(() => void (Operator.prototype.control = control));
  const server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  stack.defer(() => server.close());
  const { port } = server.addr;
  const vms = stack.use(
    await bootGuests(["one"], {
      guest: { moduleArgs: "hairpin=1" },
      net: { allowHost: [{ address: parseAddress("127.0.0.1"), port }] },
    }),
  );
  const guest = vms.guests["one"]!;

  await t.step("a RESET of a circuit that is over does not end another one that gets its id", async () => {
    // It is remembered for CONNECTs that were under way by then, and for nobody later. The first circuits of a VM have these ids.
    for (let id = 0; id < 64; id++) device!.announce(encodeReset(BigInt(id), id, Errno.ECONNRESET), true);
    await guest.run("nginx", { check: true });
    for (let i = 0; i < 3; i++) {
      const { code, stderr } = await guest.run(`curl -sS --max-time 200 -o /dev/null http://${vms.address("one")}/`);
      assertEquals([code, stderr], [0, ""]);
    }
    assert(Number((await guest.run("cat /sys/class/net/csvn0/csvn/connects", { check: true })).stdout) >= 3);
    assertEquals((await guest.run("cat /sys/class/net/csvn0/csvn/resets", { check: true })).stdout, "0\n");
  });

  await t.step(
    "a program that sets options all day has the switch told of the last ones, by one request at a time",
    async () => {
      const program = `
import socket, sys
socks = [socket.create_connection(("10.77.0.1", ${port})) for _ in range(2)]
print("connected", flush=True)
sys.stdin.readline()
for n in range(20000):
    for s in socks:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60 + n % 2)
for n, s in enumerate(socks):
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 100 + n)
print("set", flush=True)
sys.stdin.readline()
`;
      await guest.run("cat >/tmp/options.py", { stdin: program, check: true });
      const child = guest.spawn("exec python3 /tmp/options.py 2>&1");
      let said = "";
      const reading = child.stdout.pipeThrough(new TextDecoderStream()).pipeTo(
        new WritableStream({ write: (text) => void (said += text) }),
      );
      reading.catch(() => {}); // the guest is killed when something else has failed
      const writer = child.stdin.getWriter();
      await until("the connections", () => said === "connected\n", 60_000);
      held = [];
      told.length = 0;
      await writer.write(new TextEncoder().encode("\n"));
      await until("all options", () => said === "connected\nset\n", 120_000);
      // Whatever there is in the guest is notified of within milliseconds.
      await guest.run("sleep 1", { check: true });
      assertEquals(told.length, 2, "one request of each connection");
      const first = held;
      held = undefined;
      for (const answer of first) answer();
      await until("the last options", () => told.includes(100) && told.includes(101), 60_000);
      assertEquals(told.length, 4, "and one more of each");
      await writer.write(new TextEncoder().encode("\n"));
      await writer.close();
      await reading;
    },
  );
});
