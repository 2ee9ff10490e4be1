import { Layout } from "../../src/circuit/records.ts";
import { parseAddress } from "../../src/net/address.ts";

/** The bytes of an endpoint in a record. */
export function encodeEndpoint(address: string, port: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Layout.endpoint.size);
  const { family, bytes: ip } = parseAddress(address);
  const view = new DataView(bytes.buffer);
  view.setUint16(Layout.endpoint.family, family, true);
  view.setUint16(Layout.endpoint.port, port, true);
  bytes.set(ip, Layout.endpoint.ip);
  return bytes;
}
