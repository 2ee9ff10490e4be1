/**
 * The resolvers that the host uses itself.
 *
 * @module
 */

import { type Address, AddressError, type Endpoint, isUnspecified, parseAddress, unmapped } from "../net/address.ts";
import { RESOLV_CONF_BYTES_MAX } from "./limits.ts";

const DNS_PORT = 53;

/**
 * The name servers that resolv.conf names, in its order, each once. What is no address there (or one with a zone) is passed over; a
 * file that cannot be read names none.
 *
 * @param path The file.
 */
export async function hostResolvers(path = "/etc/resolv.conf"): Promise<Endpoint[]> {
  const found = new Map<string, Endpoint>();
  for (const line of (await read(path)).split("\n")) {
    const word = /^nameserver[ \t]+([^\s#;]+)/.exec(line)?.[1];
    const address = word === undefined ? undefined : readServer(word);
    if (address) found.set(address.text, { address, port: DNS_PORT });
  }
  return [...found.values()];
}

function readServer(text: string): Address | undefined {
  try {
    const address = unmapped(parseAddress(text));
    // There it means this machine; answers come from its loopback address.
    return isUnspecified(address) ? parseAddress(address.family === 4 ? "127.0.0.1" : "::1") : address;
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
}

async function read(path: string): Promise<string> {
  try {
    // A pipe would be waited for.
    if (!(await Deno.stat(path)).isFile) return "";
    using file = await Deno.open(path);
    const bytes = new Uint8Array(RESOLV_CONF_BYTES_MAX);
    let length = 0;
    while (length < bytes.length) {
      const more = await file.read(bytes.subarray(length));
      if (more === null) break;
      length += more;
    }
    return new TextDecoder().decode(bytes.subarray(0, length));
  } catch {
    return "";
  }
}
