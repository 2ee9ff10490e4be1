/**
 * Sends pseudo-random bytes to an echo server and checks what comes back: by the mapping and by Deno's own calls, as it comes.
 *
 *     zero_copy.ts ADDRESS PORT BYTES
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program's own output

import { Circuit, CircuitError } from "../../../guest/deno/csvn.ts";

class Bytes {
  #state = 12345;

  fill(to: Uint8Array): void {
    for (let i = 0; i < to.length; i++) {
      this.#state = (Math.imul(this.#state, 1103515245) + 12345) >>> 0;
      to[i] = this.#state >>> 16;
    }
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

async function send(conn: Deno.TcpConn, circuit: Circuit, bytes: number): Promise<void> {
  const out = new Bytes();
  for (let left = bytes, turn = 0; left > 0; turn++) {
    if (turn % 3 === 2) {
      const buffer = new Uint8Array(Math.min(left, 3000));
      out.fill(buffer);
      for (let sent = 0; sent < buffer.length;) sent += await conn.write(buffer.subarray(sent));
      left -= buffer.length;
      continue;
    }
    const room = circuit.reserve();
    if (!room) {
      await circuit.wait("writable");
      continue;
    }
    const piece = room.subarray(0, Math.min(left, turn * 997 % 50_000 + 1));
    out.fill(piece);
    circuit.commit(piece.length);
    left -= piece.length;
  }
  circuit.shutdown();
}

async function receive(conn: Deno.TcpConn, circuit: Circuit): Promise<number> {
  const expected = new Bytes();
  let received = 0;
  for (let turn = 0;; turn++) {
    let got: Uint8Array | undefined;
    if (turn % 3 === 2) {
      const buffer = new Uint8Array(4000);
      const count = await conn.read(buffer);
      got = buffer.subarray(0, count ?? 0);
    } else {
      got = circuit.peek();
      if (!got) {
        await circuit.wait("readable");
        continue;
      }
    }
    if (got.length === 0) return received;
    const want = new Uint8Array(got.length);
    expected.fill(want);
    if (!same(got, want)) throw new Error(`another echo after ${received} bytes`);
    received += got.length;
    if (turn % 3 !== 2) circuit.consume(got.length);
  }
}

const [hostname, port, bytes] = [Deno.args[0]!, Number(Deno.args[1]), Number(Deno.args[2])];
{
  using conn = await Deno.connect({ hostname, port });
  using circuit = Circuit.map(conn);
  const [, received] = await Promise.all([send(conn, circuit, bytes), receive(conn, circuit)]);
  if (received !== bytes) throw new Error(`${received} of ${bytes} bytes`);
  const room = circuit.peek()!;
  circuit[Symbol.dispose]();
  if (room.length !== 0) throw new Error("there is memory after the end");
}
{
  using listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  try {
    Circuit.map(conn);
    throw new Error("loopback is mapped");
  } catch (error) {
    if (!(error instanceof CircuitError && error.errno === 25)) throw error;
  }
}
console.log("passed");
