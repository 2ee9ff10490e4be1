/**
 * A RESET that the driver cannot place is remembered for CONNECTs that were under way by then, and for nobody later: the id may be given out again.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { encodeReset } from "../../src/circuit/records.ts";
import { Errno } from "../../src/errno.ts";
import { PlaneDevice } from "../../src/ffi/device.ts";
import { bootGuests } from "../support/guests.ts";

Deno.test("a RESET of a circuit that is over does not end another one that gets its id", async () => {
  // The guest's device, from underneath: what the operator would not say.
  let device: PlaneDevice | undefined;
  const reply = PlaneDevice.prototype.reply;
  PlaneDevice.prototype.reply = function (...answer): void {
    device = this;
    reply.apply(this, answer);
  };
  try {
    await using vms = await bootGuests(["one"], { guest: { moduleArgs: "hairpin=1" } });
    const guest = vms.guests["one"]!;
    const address = vms.address("one");
    // The first circuits of a VM have these ids.
    for (let id = 0; id < 64; id++) device!.announce(encodeReset(BigInt(id), id, Errno.ECONNRESET));
    await guest.run("nginx", { check: true });
    for (let i = 0; i < 3; i++) {
      const { code, stderr } = await guest.run(`curl -sS --max-time 200 -o /dev/null http://${address}/`);
      assertEquals([code, stderr], [0, ""]);
    }
    assert(Number((await guest.run("cat /sys/class/net/csvn0/csvn/connects", { check: true })).stdout) >= 3);
    assertEquals((await guest.run("cat /sys/class/net/csvn0/csvn/resets", { check: true })).stdout, "0\n");
  } finally {
    PlaneDevice.prototype.reply = reply;
  }
});
