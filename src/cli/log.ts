/**
 * Where the program's log goes: standard error, as text or as JSON lines.
 *
 * @module
 */

import { configure, getJsonLinesFormatter, getTextFormatter } from "@logtape/logtape";
import type { LogLevel } from "../config/config.ts";

/** Send the log to standard error. Lines are written whole, in order, before the program goes on. */
export async function setUpLog(level: LogLevel, format: "text" | "json"): Promise<void> {
  const formatter = format === "json"
    ? getJsonLinesFormatter({ properties: "flatten" })
    : getTextFormatter({ timestamp: "rfc3339", category: (category) => category.slice(1).join("."), value: String });
  const encoder = new TextEncoder();
  await configure({
    reset: true,
    sinks: {
      stderr: (record) => {
        const bytes = encoder.encode(formatter(record));
        for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
      },
    },
    loggers: [
      { category: ["csvn"], lowestLevel: level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["stderr"] },
    ],
  });
}
