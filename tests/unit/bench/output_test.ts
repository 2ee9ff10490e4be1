import { assertEquals, assertThrows } from "@std/assert";
import { BenchFailure } from "../../../bench/guests/host.ts";
import { parseIperf, parseRedis, parseWrk } from "../../../bench/guests/output.ts";

Deno.test("parseIperf() takes what has arrived, or says what went wrong", () => {
  const report = (end: unknown): string => JSON.stringify({ start: {}, intervals: [], end });
  assertEquals(parseIperf(report({ sum_sent: { bits_per_second: 9 }, sum_received: { bits_per_second: 7e9 } })), {
    received: 7e9,
  });
  assertEquals(parseIperf(report({ sum_received: { bits_per_second: 1e9, lost_percent: 2.5 } })), {
    received: 1e9,
    lost: 2.5,
  });
  assertThrows(() => parseIperf('{"error": "unable to connect"}'), BenchFailure, "iperf3: unable to connect");
  assertThrows(() => parseIperf(report({})), BenchFailure, "no end.sum_received");
  assertThrows(() => parseIperf("iperf3: error"), BenchFailure, "printed no JSON: iperf3: error");
});

Deno.test("parseWrk() takes the rate, and no errors", () => {
  const text = "Running 3s test\n  600 requests in 3.00s, 1MB read\nRequests/sec:   1464.12\nTransfer/sec:      1MB\n";
  assertEquals(parseWrk(text), 1464.12);
  assertThrows(
    () => parseWrk(text.replace("Req", "  Socket errors: connect 0, read 3, write 0, timeout 0\nReq")),
    BenchFailure,
    "wrk: Socket errors: connect 0, read 3, write 0, timeout 0",
  );
  assertThrows(() => parseWrk("unable to connect"), BenchFailure, "printed no rate: unable to connect");
});

Deno.test("parseRedis() takes the rate of its command", () => {
  const text = '"test","rps","avg_latency_ms"\n"SET","1.00","2"\n"GET","9202.45","1.7"\n';
  assertEquals(parseRedis(text, "GET"), 9202.45);
  assertThrows(() => parseRedis(text, "LPUSH"), BenchFailure, "printed no LPUSH");
});
