/**
 * What guest/deno/csvn.ts does where there is no circuit; with one, it is tested in a guest.
 *
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { Circuit, CircuitError } from "../../guest/deno/csvn.ts";

const ENOTTY = 25, EBADF = 9;

async function pair(listenAt: string, connectTo: string): Promise<[Deno.TcpConn, Deno.TcpConn]> {
  using listener = Deno.listen({ hostname: listenAt, port: 0 });
  return await Promise.all([Deno.connect({ hostname: connectTo, port: listener.addr.port }), listener.accept()]);
}

for (const [listenAt, connectTo] of [["127.0.0.1", "127.0.0.1"], ["::1", "::1"], ["::", "127.0.0.1"]] as const) {
  Deno.test(`Circuit.map() finds a connection's descriptor, and says that it is no circuit: ${connectTo} at ${listenAt}`, async () => {
    for (const conn of await pair(listenAt, connectTo)) {
      using _ = conn;
      assertEquals(assertThrows(() => Circuit.map(conn), CircuitError).errno, ENOTTY);
    }
  });
}

Deno.test("Circuit.map() finds no descriptor of a connection that is closed", async () => {
  const [one, other] = await pair("127.0.0.1", "127.0.0.1");
  one.close();
  other.close();
  assertEquals(assertThrows(() => Circuit.map(one), CircuitError).errno, EBADF);
});
