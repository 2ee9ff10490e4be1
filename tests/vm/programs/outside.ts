/**
 * A machine on the host's network, for the tests: HTTP on port 80 (GET /file: 64 MiB; PUT: the checksum of what came), a server on
 * port 81 that resets, one on port 85 that remembers how connections ended, datagram echo on port 82, a silent listener on port 83,
 * DNS on port 53, which says that every name below example.com is here, for two seconds.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- a program

import { createSocket } from "node:dgram";
import { createHash } from "node:crypto";
import { createServer } from "node:net";
// @ts-types="../../../src/dns/dns_packet.d.ts"
import packet from "dns-packet";
import { answerTo, record } from "../../support/dns.ts";
import { OUTSIDE } from "../../support/namespaces.ts";

const file = new Uint8Array(64 << 20);
for (let at = 0; at < file.length; at += 65536) crypto.getRandomValues(file.subarray(at, at + 65536));
const checksum = createHash("sha256").update(file).digest("hex");

const ends: string[] = [];

Deno.serve({ port: 80, hostname: "::", onListen: () => {} }, async (request, { remoteAddr }) => {
  const { pathname } = new URL(request.url);
  if (request.method === "PUT") {
    const hash = createHash("sha256");
    for await (const chunk of request.body ?? []) hash.update(chunk);
    return new Response(hash.digest("hex") + "\n");
  }
  if (pathname === "/file") return new Response(file);
  if (pathname === "/ends") return new Response(ends.splice(0).join(", "));
  if (pathname === "/checksum") return new Response(checksum + "\n");
  return new Response(`hello ${(remoteAddr as Deno.NetAddr).hostname}\n`);
});

createServer((connection) => connection.on("data", () => connection.resetAndDestroy())).listen(81, "::");

// Remembers how its connections ended: GET /ends tells.
createServer((connection) => {
  connection.on("error", (error: Error & { code?: string }) => ends.push(error.code ?? error.message));
  connection.on("end", () => ends.push("end of file"));
  connection.resume();
}).listen(85, "::");

const echo = createSocket("udp6");
echo.on("message", (payload, from) => echo.send(payload, from.port, from.address));
echo.bind(82, "::");

const dns = createSocket("udp4");
dns.on("message", (payload, from) => {
  const query = packet.decode(payload);
  const [question] = query.questions;
  const here = question?.type === "A" && question.name.endsWith(".example.com");
  const answer = answerTo(query, here ? [record(question.name, "A", OUTSIDE.v4, 2)] : []);
  dns.send(answer, from.port, from.address);
});
dns.bind(53, OUTSIDE.v4);

Deno.listen({ port: 83, hostname: "::" });
console.log("ready");
