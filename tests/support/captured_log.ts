/**
 * The log's lines, for tests of what is said.
 *
 * @module
 */

import { configure, type LogRecord, reset } from "@logtape/logtape";

/** Lines of the default level and above, until it is disposed. */
export class CapturedLog implements AsyncDisposable {
  /** Each without its level. */
  readonly lines: string[] = [];
  /** Each with its level in front: `warn something`. */
  readonly levelled: string[] = [];

  /** Begin. There is one log: nobody else may have it meanwhile. */
  static async begin(): Promise<CapturedLog> {
    const log = new CapturedLog();
    const keep = ({ level, message }: LogRecord): void => {
      const text = message.map(String).join("");
      log.lines.push(text);
      log.levelled.push(`${level} ${text}`);
    };
    await configure({
      reset: true,
      sinks: { keep },
      loggers: [
        { category: ["csvn"], lowestLevel: "info", sinks: ["keep"] },
        { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["keep"] },
      ],
    });
    return log;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await reset();
  }
}
