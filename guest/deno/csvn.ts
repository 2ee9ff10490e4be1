// SPDX-License-Identifier: MIT
/**
 * Zero copy for programs in a guest that run on Deno: the rings of a connection as `Uint8Array`s. `guest/include/csvn.h` is the same in C,
 * docs/zero-copy.md says what holds for both.
 *
 * ```ts
 * const conn = await Deno.connect({ hostname: "10.77.0.10", port: 7000 });
 * using circuit = Circuit.map(conn);
 * let room;
 * while (!(room = circuit.reserve())) await circuit.wait("writable");
 * circuit.commit(new TextEncoder().encodeInto("hello", room).written);
 * let bytes;
 * while (!(bytes = circuit.peek())) await circuit.wait("readable");
 * console.log(bytes.length === 0 ? "end of file" : new TextDecoder().decode(bytes));
 * circuit.consume(bytes.length);
 * ```
 *
 * The connection stays Deno's, and `conn.read()` and `conn.write()` may be called between; a direction has one user at a time. Deno does
 * not tell a connection's descriptor, so it is found among the process's by the connection's two addresses.
 *
 * Needs `--allow-ffi --allow-net`. A `SIGBUS` (docs/zero-copy.md says when) ends the process: Deno cannot catch it.
 *
 * @module
 */

const libc = Deno.dlopen("libc.so.6", {
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  munmap: { parameters: ["pointer", "usize"], result: "i32" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32", nonblocking: true },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  __errno_location: { parameters: [], result: "pointer" },
}).symbols;

// guest/include/csvn/mapping.h
const VERSION = 1;
const IOC_MAP = 0xc020c501n, IOC_KICK = 0xc502n;
// lib/include/csvn/circuit.h
const PAGE = 4096;
const TAIL = 0, HEAD = 8; // in words of 8 bytes
const STATE = 2, SLEEP_RX = 32, SLEEP_TX = 33; // in words of 4 bytes
const FIN = 1, CLOSED = 2, RESET = 4;
// The system's
const PROT_NONE = 0, PROT_READ = 1, PROT_WRITE = 2;
const MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000;
const POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16;
const AF_INET = 2, AF_INET6 = 10, SOL_SOCKET = 1, SO_ERROR = 4, SHUT_WR = 1;
/** Those that a connection's is looked for among. */
const DESCRIPTORS = 65_536;
const ERRNO = { EBADF: 9, EPIPE: 32, ENOTTY: 25, EPROTO: 71, ECONNRESET: 104, ENOTCONN: 107 };

/** What can be waited for. */
export type Event = "readable" | "writable" | "either";

/** A connection that is not as it should be; `errno` says why, by Linux' number. */
export class CircuitError extends Error {
  override readonly name = "CircuitError";
  constructor(what: string, readonly errno: number) {
    const name = Object.entries(ERRNO).find(([, value]) => value === errno)?.[0];
    super(`${what}: ${name ?? `errno ${errno}`}`);
  }
}

function errno(): number {
  return new Deno.UnsafePointerView(libc.__errno_location()!).getInt32();
}

/** Address and port of a socket as one string, and of an IPv4 address in IPv6's clothes as IPv4. */
function nameOf(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer);
  const port = view.getUint16(2);
  switch (view.getUint16(0, true)) {
    case AF_INET:
      return `${bytes.subarray(4, 8).join(".")}:${port}`;
    case AF_INET6: {
      const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(8 + 2 * i).toString(16));
      if (groups.slice(0, 6).join() === "0,0,0,0,0,ffff") return `${bytes.subarray(20, 24).join(".")}:${port}`;
      return `${new URL(`http://[${groups.join(":")}]`).hostname}:${port}`;
    }
  }
  return "";
}

function addressOf({ hostname, port }: Deno.NetAddr): string {
  if (!hostname.includes(":")) return `${hostname}:${port}`;
  const host = hostname.replace(/^::ffff:(?=\d+\.)/, "");
  return host.includes(":") ? `${new URL(`http://[${host}]`).hostname}:${port}` : `${host}:${port}`;
}

/** The descriptor of a connection: that of this process's sockets which has both of its addresses. */
function descriptorOf(conn: Deno.TcpConn): number {
  const wanted = `${addressOf(conn.localAddr)} ${addressOf(conn.remoteAddr)}`;
  const bytes = new Uint8Array(128);
  const name = (call: typeof libc.getsockname, fd: number): string => {
    const size = new Uint8Array(Uint32Array.of(bytes.length).buffer);
    return call(fd, bytes, size) === 0 ? nameOf(bytes) : "";
  };
  for (let fd = 0; fd < DESCRIPTORS; fd++) {
    const local = name(libc.getsockname, fd);
    if (local && `${local} ${name(libc.getpeername, fd)}` === wanted) return fd;
  }
  throw new CircuitError(`no descriptor of this process is connected as ${wanted}`, ERRNO.EBADF);
}

/** One control page, seen through atomic operations: each is ordered with all others, so also stands for a fence. */
interface Control {
  readonly cursors: BigUint64Array<ArrayBuffer>;
  readonly words: Uint32Array<ArrayBuffer>;
}

/** A connection whose rings are mapped. Cursors as in `lib/include/csvn/ring.h`. */
export class Circuit implements Disposable {
  /** Bytes of a ring. */
  readonly ringSize: number;
  readonly #fd: number;
  readonly #memory: Deno.PointerObject;
  readonly #length: number;
  readonly #buffer: ArrayBuffer;
  readonly #own: Control;
  readonly #peer: Control;
  readonly #tx: number; // where the rings begin in the buffer
  readonly #rx: number;
  #rungRx = 0;
  #rungTx = 0;
  #tail = 0n;
  #room = 0; // reserved last
  #head = 0n;
  #ready = 0; // peeked at last

  private constructor(fd: number, memory: Deno.PointerObject, part: number, ringSize: number) {
    this.ringSize = ringSize;
    this.#fd = fd;
    this.#memory = memory;
    this.#length = 2 * part;
    // SAFETY: both parts are mapped at memory, one after the other, until this is disposed of, which detaches the buffer.
    const buffer = this.#buffer = Deno.UnsafePointerView.getArrayBuffer(memory, this.#length);
    const control = (at: number): Control => ({
      cursors: new BigUint64Array(buffer, at, PAGE / 8),
      words: new Uint32Array(buffer, at, PAGE / 4),
    });
    this.#own = control(0);
    this.#peer = control(part);
    this.#tx = PAGE;
    this.#rx = part + PAGE;
  }

  /**
   * Map a connection's circuit.
   *
   * @throws {CircuitError} ENOTTY where it is none (loopback, another network); ENOTCONN when it is over.
   */
  static map(conn: Deno.TcpConn): Circuit {
    const fd = descriptorOf(conn);
    const layout = new DataView(new ArrayBuffer(32));
    layout.setUint32(0, VERSION, true);
    if (libc.ioctl(fd, IOC_MAP, new Uint8Array(layout.buffer)) < 0) throw new CircuitError("mapping", errno());
    const part = Number(layout.getBigUint64(24, true));
    const reserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const memory = libc.mmap(null, BigInt(2 * part), PROT_NONE, reserve, -1, 0n);
    if (!mapped(memory)) throw new CircuitError("mapping", errno());
    const parts = [[0, PROT_READ | PROT_WRITE, 8], [part, PROT_READ, 16]] as const;
    for (const [at, rights, field] of parts) {
      const place = Deno.UnsafePointer.offset(memory, at);
      const offset = layout.getBigUint64(field, true);
      if (mapped(libc.mmap(place, BigInt(part), rights, MAP_SHARED | MAP_FIXED, fd, offset))) continue;
      const error = new CircuitError("mapping", errno());
      libc.munmap(memory, BigInt(2 * part));
      throw error;
    }
    return new Circuit(fd, memory, part, layout.getUint32(4, true));
  }

  /**
   * All room that there is to write in, in one piece; undefined: the ring is full.
   *
   * @throws {CircuitError} EPIPE, ECONNRESET: nobody reads any more; EPROTO: the peer broke the rules, close.
   */
  reserve(): Uint8Array<ArrayBuffer> | undefined {
    const state = Atomics.load(this.#peer.words, STATE);
    if (state & RESET && !(state & FIN)) throw new CircuitError("sending", ERRNO.ECONNRESET);
    if (state & (RESET | CLOSED) || Atomics.load(this.#own.words, STATE) & FIN) {
      throw new CircuitError("sending", ERRNO.EPIPE);
    }
    this.#tail = Atomics.load(this.#own.cursors, TAIL); // the kernel may have moved it
    const used = BigInt.asUintN(64, this.#tail - Atomics.load(this.#peer.cursors, HEAD));
    if (used > BigInt(this.ringSize)) throw new CircuitError("sending", ERRNO.EPROTO);
    this.#room = this.ringSize - Number(used);
    if (this.#room === 0) return undefined;
    const at = Number(this.#tail & BigInt(this.ringSize - 1));
    return new Uint8Array(this.#buffer, this.#tx + at, this.#room);
  }

  /** Send the first bytes of what was reserved last. */
  commit(bytes: number): void {
    if (!(bytes >= 0 && bytes <= this.#room)) throw new RangeError(`${bytes} bytes of ${this.#room}`);
    this.#tail += BigInt(bytes);
    this.#room -= bytes;
    Atomics.store(this.#own.cursors, TAIL, this.#tail);
    const sleep = Atomics.load(this.#peer.words, SLEEP_RX);
    if (sleep === this.#rungRx) return;
    this.#rungRx = sleep;
    this.#kick();
  }

  /**
   * All bytes that there are to read, in one piece: undefined when there are none yet, an empty array at the end of file.
   *
   * @throws {CircuitError} ECONNRESET: aborted; EPROTO: the peer broke the rules, close.
   */
  peek(): Uint8Array<ArrayBuffer> | undefined {
    const state = Atomics.load(this.#peer.words, STATE); // before the tail, which FIN makes final
    this.#head = Atomics.load(this.#own.cursors, HEAD);
    const ready = BigInt.asUintN(64, Atomics.load(this.#peer.cursors, TAIL) - this.#head);
    if (ready > BigInt(this.ringSize)) throw new CircuitError("receiving", ERRNO.EPROTO);
    this.#ready = Number(ready);
    if (this.#ready === 0 && !(state & FIN)) {
      if (state) throw new CircuitError("receiving", ERRNO.ECONNRESET);
      return undefined;
    }
    const at = Number(this.#head & BigInt(this.ringSize - 1));
    return new Uint8Array(this.#buffer, this.#rx + at, this.#ready);
  }

  /** Give back the first bytes of what was peeked at last. */
  consume(bytes: number): void {
    if (!(bytes >= 0 && bytes <= this.#ready)) throw new RangeError(`${bytes} bytes of ${this.#ready}`);
    this.#head += BigInt(bytes);
    this.#ready -= bytes;
    Atomics.store(this.#own.cursors, HEAD, this.#head);
    const sleep = Atomics.load(this.#peer.words, SLEEP_TX);
    if (sleep === this.#rungTx) return;
    const used = BigInt.asUintN(64, Atomics.load(this.#peer.cursors, TAIL) - this.#head);
    if (used > BigInt(this.ringSize / 2) && used <= BigInt(this.ringSize)) return; // not before half of its ring is free
    this.#rungTx = sleep;
    this.#kick();
  }

  /**
   * Wait for bytes or the end of file, for half of the ring to write in or nobody to read it, or for so many milliseconds. False:
   * the time is up.
   *
   * @throws {CircuitError} The connection's error.
   */
  async wait(event: Event, timeoutMs = -1): Promise<boolean> {
    const events = (event !== "writable" ? POLLIN : 0) | (event !== "readable" ? POLLOUT : 0);
    const request = new DataView(new ArrayBuffer(8));
    request.setInt32(0, this.#fd, true);
    request.setInt16(4, events, true);
    const happened = await libc.poll(new Uint8Array(request.buffer), 1n, timeoutMs);
    if (happened === 0) return false;
    const seen = request.getInt16(6, true);
    if (seen & events || !(seen & (POLLERR | POLLHUP))) return true;
    const error = new Uint8Array(4);
    libc.getsockopt(this.#fd, SOL_SOCKET, SO_ERROR, error, new Uint8Array(Uint32Array.of(4).buffer));
    throw new CircuitError("waiting", new DataView(error.buffer).getInt32(0, true) || ERRNO.ENOTCONN);
  }

  /** Nothing more will be sent. */
  shutdown(): void {
    if (libc.shutdown(this.#fd, SHUT_WR) < 0) throw new CircuitError("shutting down", errno());
  }

  /** Unmap. What reserve() and peek() have returned is empty from then on; the connection stays, and is Deno's to close. */
  [Symbol.dispose](): void {
    if (this.#buffer.detached) return;
    structuredClone(this.#buffer, { transfer: [this.#buffer] });
    libc.munmap(this.#memory, BigInt(this.#length));
  }

  #kick(): void {
    if (libc.ioctl(this.#fd, IOC_KICK, null) < 0) throw new CircuitError("waking the peer", errno());
  }
}

/** mmap() has not failed. */
function mapped(memory: Deno.PointerValue): memory is Deno.PointerObject {
  return memory !== null && BigInt.asIntN(64, Deno.UnsafePointer.value(memory)) !== -1n;
}
