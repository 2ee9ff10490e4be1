/**
 * Something that nobody waits for.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";

const log = getLogger(["csvn", "operator"]);

/** Let it come to its end. It does not fail, unless it is a bug of ours. */
export function background(work: Promise<unknown>): void {
  work.catch((error) => log.error("a bug of csvn's: {error}", { error }));
}
