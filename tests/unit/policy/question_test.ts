import { assertEquals, assertThrows } from "@std/assert";
import { parseQuestion, QuestionError } from "../../../src/policy/question.ts";
import { workload } from "../../support/policies.ts";

const web = workload("web", { ip: "10.77.0.2", ip6: "fd77::2" });
const db = workload("db", {
  ip: "10.77.0.3",
  ip6: "fd77::3",
  ports: [{ name: "postgres", port: 5432, protocol: "tcp" }],
});

function asked(from: string, to: string): unknown[] {
  const question = parseQuestion(from, to, [web, db]);
  const { source, destination, protocol, port, names } = question;
  return [question.from?.name, source.text, question.to?.name, destination.text, port, protocol, names];
}

Deno.test("parseQuestion() reads names, addresses, DNS names and names of ports", () => {
  assertEquals(asked("web", "db:5432/tcp"), ["web", "10.77.0.2", "db", "10.77.0.3", 5432, "tcp", []]);
  assertEquals(asked("web", "db:postgres"), ["web", "10.77.0.2", "db", "10.77.0.3", 5432, "tcp", []]);
  assertEquals(asked("web", "[fd77::3]:53/UDP"), ["web", "fd77::2", "db", "fd77::3", 53, "udp", []]);
  assertEquals(asked("10.77.0.2", "203.0.113.9:443"), ["web", "10.77.0.2", undefined, "203.0.113.9", 443, "tcp", []]);
  assertEquals(asked("203.0.113.9", "web:80"), [undefined, "203.0.113.9", "web", "10.77.0.2", 80, "tcp", []]);
  const mapped = "::ffff:203.0.113.9";
  assertEquals(asked(mapped, `[${mapped}]:443`).slice(0, 4), [undefined, "203.0.113.9", undefined, "203.0.113.9"]);
  assertEquals(asked("fd77:0::2", "[::ffff:10.77.0.3]:80").slice(0, 4), ["web", "10.77.0.2", "db", "10.77.0.3"]);
  assertEquals(asked("web", "API.example.com:443"), ["web", "10.77.0.2", undefined, "192.0.2.1", 443, "tcp", [
    "api.example.com",
  ]]);
});

Deno.test("parseQuestion() says what it does not understand", () => {
  const cases = [
    ["web", "db", '"db" is not a destination such as db:5432/tcp'],
    ["web", "db:", "is not a destination"],
    ["web", "fd77::3:80", "is not a destination"],
    ["web", "db:0", '"0" is not a port from 1 to 65535; db declares postgres'],
    ["web", "db:http", '"http" is not a port'],
    ["web", "db:postgres/udp", '"postgres" is not a port'],
    ["web", "203.0.113.9:http", '"http" is not a port from 1 to 65535'],
    ["web", "db:80/icmp", '"icmp" is not one of tcp, udp, sctp'],
    ["wbe", "db:80", '"wbe" is neither one of web, db nor an address'],
    ["web", "dbb:80", '"dbb" is neither one of web, db nor an address or a DNS name'],
    ["api.example.com", "db:80", '"api.example.com" is neither'],
  ] as const;
  for (const [from, to, message] of cases) assertThrows(() => asked(from, to), QuestionError, message);
});
