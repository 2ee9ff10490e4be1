// SPDX-License-Identifier: MIT
/**
 * A zero-copy echo server on Deno.
 *
 *     deno run --allow-net --allow-ffi echo.ts PORT
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program

import { Circuit } from "./csvn.ts";

async function echo(conn: Deno.TcpConn): Promise<void> {
  using _ = conn;
  using circuit = Circuit.map(conn);
  for (;;) {
    const bytes = circuit.peek();
    if (!bytes) {
      await circuit.wait("readable");
      continue;
    }
    if (bytes.length === 0) break;
    const room = circuit.reserve();
    if (!room) {
      await circuit.wait("writable");
      continue;
    }
    const count = Math.min(bytes.length, room.length);
    room.set(bytes.subarray(0, count));
    circuit.consume(count);
    circuit.commit(count);
  }
  circuit.shutdown();
}

for await (const conn of Deno.listen({ port: Number(Deno.args[0]) })) {
  echo(conn).catch((error) => console.error(`${conn.remoteAddr.hostname}: ${error.message}`));
}
