/**
 * Where the program's log goes: standard error, as text or as JSON lines.
 *
 * @module
 */

import { configure, getJsonLinesFormatter, getTextFormatter } from "@logtape/logtape";
import type { LogLevel } from "../config/config.ts";
import { LogWriter } from "./log_writer.ts";

/** Send the log to standard error, in whole lines. */
export async function setUpLog(level: LogLevel, format: "text" | "json"): Promise<void> {
  const formatter = format === "json"
    ? getJsonLinesFormatter({ properties: "flatten" })
    : getTextFormatter({ timestamp: "rfc3339", category: (category) => category.slice(1).join("."), value: String });
  const writer = new LogWriter(Deno.stderr);
  await configure({
    reset: true,
    sinks: {
      stderr: (record) => writer.write(formatter(record)),
    },
    loggers: [
      { category: ["csvn"], lowestLevel: level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["stderr"] },
    ],
  });
}
