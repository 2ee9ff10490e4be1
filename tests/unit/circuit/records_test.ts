import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import * as records from "../../../src/circuit/records.ts";
import {
  type ControlRequest,
  decodeHeader,
  decodeRequest,
  encodeArenaEvent,
  encodeArenaHeader,
  encodeConfig,
  encodeConnectResponse,
  encodeHelloResponse,
  encodeIncoming,
  encodeReset,
  encodeResponse,
  EventType,
  Layout,
  Option,
  Queue,
  RECORD_MAX,
  RecordError,
  RequestType,
  VERSION,
  type VmIdentity,
} from "../../../src/circuit/records.ts";
import { addressOf, type Endpoint, parseAddress } from "../../../src/net/address.ts";
import { layouts } from "../../support/native.ts";
import { property } from "../../support/property.ts";

/** Every name and number of the codec, as the C headers name them. */
function ours(): Map<string, number> {
  const found = new Map<string, number>();
  for (const [name, fields] of Object.entries(Layout)) {
    for (const [field, value] of Object.entries(fields)) found.set(`${name}.${field}`, value);
  }
  for (const [name, type] of Object.entries(RequestType)) found.set(`REQ_${name}`, type);
  for (const [name, type] of Object.entries(EventType)) found.set(`EV_${name}`, type);
  for (const [name, bit] of Object.entries(Option)) found.set(`OPTION_${name}`, bit);
  for (const [name, queue] of Object.entries(Queue)) found.set(`QUEUE_${name}`, queue);
  for (
    const name of [
      "MAGIC",
      "VERSION",
      "RECORD_MAX",
      "NAME_MAX",
      "QUEUES",
      "LISTEN_V6ONLY",
      "CLOSE_VIOLATION",
      "CONGESTION_MAX",
    ] as const
  ) {
    found.set(name, records[name]);
  }
  for (const name of ["FEATURE_STREAM", "FEATURE_HOST", "FEATURE_DATAGRAM"] as const) {
    found.set(name, Number(records[name]));
  }
  for (const name of ["PROTOCOL_STREAM", "PROTOCOL_DATAGRAM", "CONNECT_HOST"] as const) found.set(name, records[name]);
  return found;
}

Deno.test("the codec's every size, offset and number is the C headers', and none is missing on either side", () => {
  const sorted = (map: Map<string, number>): [string, number][] => [...map].toSorted(([a], [b]) => a < b ? -1 : 1);
  assertEquals(sorted(ours()), sorted(layouts()));
});

Deno.test("the list of C names is complete: every request, event, queue and structure of records.h", async () => {
  const header = await Deno.readTextFile(new URL("../../../lib/include/csvn/records.h", import.meta.url));
  const listed = layouts();
  for (const [, name] of header.matchAll(/\bCSVN_((?:REQ|EV|QUEUE)_[A-Z_]+)\b\s*(?:=|\d)/g)) {
    assert(listed.has(name!), name);
  }
  for (const [, name] of header.matchAll(/^struct csvn_(\w+) \{/gm)) assert(listed.has(`${name}.size`), name);
  const fields = [...header.matchAll(/^struct csvn_(\w+) \{\n([^}]*)\}/gm)].flatMap(([, name, body]) =>
    [...body!.matchAll(/^\t(?:struct \w+|\w+) (\w+)(?:\[[^\]]*\])?;/gm)].map(([, field]) => [name!, field!] as const)
  );
  assert(fields.length > 50);
  for (const [name, field] of fields) {
    // What every record begins with, and padding.
    if (["header", "response", "reserved", "pad"].includes(field)) continue;
    assert(listed.has(`${name}.${field}`) || (name === "config" && field === "size"), `${name}.${field}`);
  }
});

const IDENTITY: VmIdentity = {
  name: "w".repeat(80),
  ipv4: parseAddress("10.77.0.2"),
  ipv6: parseAddress("fd77::2"),
  prefix4: 16,
  prefix6: 64,
  gateway4: parseAddress("10.77.0.1"),
  gateway6: parseAddress("fd77::1"),
};

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const endpoint: fc.Arbitrary<Endpoint> = fc.record({
  address: fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
    .map((bytes) => addressOf(Uint8Array.from(bytes))),
  port: fc.integer({ min: 0, max: 65535 }),
});

/** Some are told, or none. */
const options = fc.option(
  fc.uint8Array({ minLength: Layout.options.size, maxLength: Layout.options.size }).map((bytes) => {
    new DataView(bytes.buffer).setUint32(0, 1 + new DataView(bytes.buffer).getUint32(0, true) % 0x1ff, true);
    return Uint8Array.from(bytes);
  }),
  { nil: undefined },
);

interface Encoded {
  readonly bytes: Uint8Array;
  readonly request: ControlRequest;
}

/** Encodes a request by hand, as a driver does. */
function encode(request: ControlRequest): Uint8Array {
  const name = request.type.startsWith("ARENA")
    ? "arena_request"
    : request.type === "OPTIONS"
    ? "set_options"
    : request.type.toLowerCase() as keyof typeof Layout;
  const layout =
    (request.type === "BYE" || request.type === "PING"
      ? Layout.header
      : Layout[name as keyof typeof Layout]) as unknown as Record<
        string,
        number
      >;
  const bytes = new Uint8Array(layout.size!);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, RequestType[request.type], true);
  view.setUint16(2, VERSION, true);
  view.setUint32(4, bytes.length, true);
  view.setBigUint64(8, 99n, true);
  for (const [field, value] of Object.entries(request)) {
    const at = layout[field];
    if (field === "v6only" || field === "violation") view.setUint32(layout.flags!, value ? 1 : 0, true);
    else if (at === undefined || field === "type") continue;
    else if (typeof value === "bigint") view.setBigUint64(at, value, true);
    else if (typeof value === "number") view.setUint32(at, value, true);
    else if (value === undefined) continue;
    else if (value instanceof Uint8Array) bytes.set(value, at);
    else if (typeof value === "string") bytes.set(new TextEncoder().encode(value), at);
    else {
      view.setUint16(at, value.address.family, true);
      view.setUint16(at + 2, value.port, true);
      bytes.set(value.address.bytes, at + 8);
    }
  }
  return bytes;
}

const request: fc.Arbitrary<ControlRequest> = fc.oneof(
  fc.record({
    type: fc.constant("HELLO" as const),
    features: u64,
    driver: fc.string({ maxLength: 32 }).filter((text) => /^[\x20-\x7e]*$/.test(text)),
  }),
  fc.record({ type: fc.constantFrom("BYE" as const, "PING" as const) }),
  fc.record({
    type: fc.constant("LISTEN" as const),
    local: endpoint,
    listener: u32,
    backlog: u32,
    v6only: fc.boolean(),
    protocol: u32,
  }),
  fc.record({ type: fc.constant("UNLISTEN" as const), listener: u32 }),
  fc.record({ type: fc.constant("CREDIT" as const), listener: u32, count: u32 }),
  fc.record({ type: fc.constant("CONNECT" as const), local: endpoint, remote: endpoint, protocol: u32, options }),
  fc.record({ type: fc.constant("OPTIONS" as const), circuit: u32, options }),
  fc.record({ type: fc.constant("CANCEL" as const), connect: u64 }),
  fc.record({ type: fc.constant("CLOSE" as const), circuit: u32, violation: fc.boolean(), sent: u64, received: u64 }),
  fc.record({
    type: fc.constantFrom("ARENA_PREPARED" as const, "ARENA_VISIBLE" as const, "ARENA_RETIRED" as const),
    arena: u32,
    error: u32,
  }),
);

const encoded: fc.Arbitrary<Encoded> = request.map((request) => ({ request, bytes: encode(request) }));

Deno.test("decodeRequest() gives back what a driver encoded, whatever lies behind it", () => {
  property(
    fc.property(encoded, fc.uint8Array({ maxLength: RECORD_MAX - Layout.connect.size }), ({ bytes, request }, more) => {
      const longer = new Uint8Array([...bytes, ...more]);
      new DataView(longer.buffer).setUint32(4, longer.length, true);
      assertEquals(decodeRequest(longer, longer.length), request);
      assertEquals(decodeHeader(longer), {
        type: RequestType[request.type],
        version: VERSION,
        length: longer.length,
        token: 99n,
      });
    }),
    500,
  );
});

Deno.test("decodeRequest() and decodeHeader() keep nothing of the bytes", () => {
  property(fc.property(encoded, ({ bytes, request }) => {
    const sent = Uint8Array.from(bytes);
    const [decoded, header] = [decodeRequest(sent, sent.length), decodeHeader(sent)];
    sent.fill(0xff);
    assertEquals([decoded, header], [request, decodeHeader(bytes)]);
  }));
});

Deno.test("decodeRequest() throws RecordError or decodes, whatever the bytes", () => {
  const flips = fc.array(fc.tuple(fc.nat(127), fc.nat(255)), { maxLength: 4 });
  property(
    fc.property(encoded, flips, fc.nat(140), ({ bytes }, flips, size) => {
      const wrong = bytes.slice();
      for (const [at, value] of flips) if (at < wrong.length) wrong[at] = value;
      for (
        const [sent, claimed] of [[wrong, wrong.length], [
          wrong.subarray(0, Math.min(size, wrong.length)),
          size,
        ]] as const
      ) {
        try {
          decodeRequest(sent, claimed);
        } catch (error) {
          if (!(error instanceof RecordError)) throw error;
        }
      }
    }),
    1000,
  );
});

Deno.test("decodeRequest() says what is wrong, by errno and text", () => {
  const good = encode({ type: "UNLISTEN", listener: 1 });
  const listen = encode({
    type: "LISTEN",
    local: { address: parseAddress("0.0.0.0"), port: 1 },
    listener: 1,
    backlog: 1,
    v6only: false,
    protocol: 6,
  });
  const close = encode({ type: "CLOSE", circuit: 1, violation: false, sent: 0n, received: 0n });
  const changed = (bytes: Uint8Array, at: number, ...values: number[]): Uint8Array => {
    const copy = bytes.slice();
    copy.set(values, at);
    return copy;
  };
  const cases: [Uint8Array, number, string, string][] = [
    [good.subarray(0, 15), 15, "EINVAL", "request of 15 bytes has no header"],
    [new Uint8Array(), 0, "EINVAL", "request of 0 bytes has no header"],
    [changed(good, 2, 1), 24, "EINVAL", "request of version 1"],
    [changed(good, 2, 0), 24, "EINVAL", "request of version 0"],
    [good, 23, "EINVAL", "says 24 bytes, was sent with 23"],
    [changed(good, 4, 193), 193, "EINVAL", "and may have 192"],
    [changed(good, 0, 0), 24, "EOPNOTSUPP", "unknown request type 0"],
    [changed(good, 0, 14), 24, "EOPNOTSUPP", "unknown request type 14"],
    [changed(good.subarray(0, 23), 4, 23), 23, "EINVAL", "UNLISTEN of 23 bytes, not 24"],
    [changed(listen, 16, 5), 56, "EAFNOSUPPORT", "LISTEN: address family 5"],
    [changed(listen, 39, 1), 56, "EINVAL", "LISTEN: bytes behind an IPv4 address"],
    [changed(listen, 48, 2), 56, "EINVAL", "LISTEN: unknown flags 2"],
    [changed(close, 20, 2), 40, "EINVAL", "CLOSE: unknown flags 2"],
  ];
  for (const [bytes, size, errno, message] of cases) {
    assertEquals(assertThrows(() => decodeRequest(bytes, size), RecordError, message).errno, errno);
  }
});

Deno.test("decodeRequest() lets nothing but printable ASCII of a driver's name through", () => {
  const hello = encode({ type: "HELLO", features: 1n, driver: "x".repeat(32) });
  hello.set([0x1b, 0x5b, 0x0a, 0xff, 0xc3, 0xa4, 0], 24);
  const decoded = decodeRequest(hello, hello.length);
  assertEquals(decoded.type === "HELLO" && decoded.driver, "?[???");
});

Deno.test("encode…() put every field at the header's place", () => {
  const header = { type: RequestType.CONNECT, version: VERSION, length: 72, token: 0x1122334455667788n };
  const extents = { arena: 1, ringSize: 2, ownControl: 3, peerControl: 4, txRing: 2 ** 40, rxRing: 6 };
  const four = { address: parseAddress("10.0.0.1"), port: 513 };
  const six = { address: parseAddress("fd77::1"), port: 65535 };
  const fieldsOf = (bytes: Uint8Array<ArrayBuffer>): [number, number, number, bigint] => {
    const { type, version, length, token } = decodeHeader(bytes);
    return [type, version, length, token];
  };
  const u32At = (bytes: Uint8Array<ArrayBuffer>, ...at: number[]): number[] =>
    at.map((at) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true));
  const u64At = (bytes: Uint8Array<ArrayBuffer>, ...at: number[]): bigint[] =>
    at.map((at) => new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true));

  const plain = encodeResponse(header, 111);
  assertEquals([fieldsOf(plain), u32At(plain, 16, 20)], [[6, 2, 24, header.token], [111, 0]]);
  const limits = { features: 1n, ringSize: 2, maxCircuits: 3, maxListeners: 4 };
  const hello = encodeHelloResponse(header, limits, IDENTITY);
  assertEquals([fieldsOf(hello)[2], u32At(hello, 16, 32, 36, 40, 44), u64At(hello, 24)], [
    160,
    [0, 2, 3, 4, records.MAGIC],
    [1n],
  ]);
  assertEquals(hello.subarray(48), encodeConfig(IDENTITY).subarray(16));
  const connect = encodeConnectResponse(header, 7, extents, four);
  assertEquals([fieldsOf(connect)[2], u32At(connect, 16, 24, 32, 36), u64At(connect, 40, 48, 56, 64)], [
    96,
    [0, 7, 1, 2],
    [3n, 4n, 2n ** 40n, 6n],
  ]);
  assertEquals([...connect.subarray(72)], [4, 0, 1, 2, 0, 0, 0, 0, 10, 0, 0, 1, ...Array(12).fill(0)]);
  const incoming = encodeIncoming(5n, { listener: 8, circuit: 9, extents, remote: six, local: four, flags: 1 });
  assertEquals([fieldsOf(incoming), u32At(incoming, 16, 20, 24, 112)], [
    [EventType.INCOMING, 2, 120, 5n],
    [8, 9, 1, 1],
  ]);
  assertEquals([...incoming.subarray(64, 68), ...incoming.subarray(72, 88)], [6, 0, 255, 255, ...six.address.bytes]);
  assertEquals(incoming[88], 4);
  const reset = encodeReset(6n, 7, 104);
  assertEquals([fieldsOf(reset), u32At(reset, 16, 20)], [[EventType.RESET, 2, 24, 6n], [7, 104]]);
  const mapped = encodeArenaEvent(0n, "ARENA_MAPPED", 3, { offset: 2 ** 35, length: 2 ** 30, nonce: 2n ** 63n });
  assertEquals([fieldsOf(mapped)[0], u32At(mapped, 16), u64At(mapped, 24, 32, 40)], [
    EventType.ARENA_MAPPED,
    [3],
    [2n ** 35n, 2n ** 30n, 2n ** 63n],
  ]);
  const arena = encodeArenaHeader(5n, 2 ** 33, 4096);
  assertEquals([u64At(arena, 0, 8, 16), u32At(arena, 24)], [[records.ARENA_MAGIC, 5n, 2n ** 33n], [4096]]);
});

Deno.test("encode…() shares no byte between two records, and reserves zeros", () => {
  const records = Array.from({ length: 3000 }, (_, i) => encodeReset(BigInt(i), i, 104));
  for (const [i, record] of records.entries()) {
    record.set([...encodeResponse({ type: 8, version: VERSION, length: 40, token: BigInt(i) }, i)]);
  }
  for (const [i, record] of records.entries()) {
    assertEquals(
      record,
      Uint8Array.from(encodeResponse({ type: 8, version: VERSION, length: 40, token: BigInt(i) }, i)),
    );
  }
});

Deno.test("encodeConfig() tells a VM who it is", () => {
  const bytes = encodeConfig(IDENTITY);
  assertEquals(new TextDecoder().decode(bytes.subarray(0, 4)), "CSVN");
  assertEquals([...bytes.subarray(4, 32)], [
    2,
    0,
    128,
    0,
    7,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    10,
    77,
    0,
    2,
    10,
    77,
    0,
    1,
    16,
    64,
    0,
    0,
    0,
    0,
    0,
    0,
  ]);
  assertEquals([bytes[47], bytes[63], bytes[126], bytes[127]], [2, 1, 119, 0], "63 letters and a zero");
});
