/**
 * Where the program's log goes: standard error, as text or as JSON lines.
 *
 * @module
 */

import { configure, getJsonLinesFormatter, getTextFormatter } from "@logtape/logtape";
import type { LogLevel } from "../config/config.ts";
import { LogWriter } from "./log_writer.ts";

/**
 * A value as it is printed. Guests choose some of what is logged: what would end the line, or steer a terminal, is written as an escape.
 */
export function printable(value: unknown): string {
  // deno-lint-ignore no-control-regex
  return String(value).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** Send the log to standard error, in whole lines. */
export async function setUpLog(level: LogLevel, format: "text" | "json"): Promise<void> {
  const formatter = format === "json"
    ? getJsonLinesFormatter({ properties: "flatten" })
    : getTextFormatter({ timestamp: "rfc3339", category: (category) => category.slice(1).join("."), value: printable });
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
