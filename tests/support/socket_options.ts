/**
 * A `csvn_options`, from its fields.
 *
 * @module
 */

import { Layout } from "../../src/circuit/records.ts";

type Field = Exclude<keyof typeof Layout.options, "size" | "congestion">;

const bytes: readonly Field[] = ["keepalive", "service", "hops"];

/** Encode one; what is not given is 0. */
export function socketOptions(fields: Partial<Record<Field, number>>): Uint8Array<ArrayBuffer> {
  const encoded = new Uint8Array(Layout.options.size);
  const view = new DataView(encoded.buffer);
  for (const [name, value] of Object.entries(fields) as [Field, number][]) {
    if (bytes.includes(name)) view.setUint8(Layout.options[name], value);
    else view.setUint32(Layout.options[name], value, true);
  }
  return encoded;
}
