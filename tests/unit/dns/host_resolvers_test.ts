import { assertEquals } from "@std/assert";
import { hostResolvers } from "../../../src/dns/host_resolvers.ts";
import { formatEndpoint } from "../../../src/net/address.ts";

async function read(content: string | Uint8Array<ArrayBuffer>): Promise<string[]> {
  const path = await Deno.makeTempFile();
  try {
    if (typeof content === "string") await Deno.writeTextFile(path, content);
    else await Deno.writeFile(path, content);
    return (await hostResolvers(path)).map(formatEndpoint);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("hostResolvers() reads name servers of both families, in order, each once", async () => {
  const text = "# made by hand\nsearch example\nnameserver 192.0.2.1\nnameserver\t2001:DB8::1  # second\n" +
    "options edns0\nnameserver 192.0.2.1\r\nnameserver ::ffff:192.0.2.9;x\nnameserver 0.0.0.0";
  assertEquals(await read(text), ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.9:53", "127.0.0.1:53"]);
});

Deno.test("hostResolvers() passes over what is no address", async () => {
  const text = "nameserver\nnameserver  \nnameserver example.com\nnameserver 10.1\nnameserver fe80::1%eth0\n" +
    "#nameserver 192.0.2.1\n;nameserver 192.0.2.1\nnameservers 192.0.2.1\nx nameserver 192.0.2.1\n" +
    "nameserver 192.0.2.2.3\nnameserver \0\nnameserver 192.0.2.7";
  assertEquals(await read(text), ["192.0.2.7:53"]);
});

Deno.test("hostResolvers() survives bytes that are no text, long lines and no file", async () => {
  assertEquals(await read(crypto.getRandomValues(new Uint8Array(4096)).map((byte) => byte | 0x80)), []);
  assertEquals(await read("nameserver ".repeat(100_000)), []);
  assertEquals(await read(""), []);
  assertEquals(await hostResolvers("/nowhere/resolv.conf"), []);
  assertEquals(await hostResolvers("/"), []);
});
