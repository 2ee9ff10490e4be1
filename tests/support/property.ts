/**
 * Property tests: a failure prints its seed and the smallest counterexample, and `CSVN_SEED` repeats it.
 *
 * @module
 */

import fc from "fast-check";

/** Check a property with random input. */
export function property<T>(property: fc.IProperty<T>, numRuns = 200): void {
  const given = Deno.env.get("CSVN_SEED");
  fc.assert(property, { numRuns, ...(given !== undefined && { seed: Number(given) }) });
}

/** The same with a property that takes its time. */
export async function asyncProperty<T extends [unknown, ...unknown[]]>(
  property: fc.IAsyncPropertyWithHooks<T>,
  numRuns = 200,
): Promise<void> {
  const given = Deno.env.get("CSVN_SEED");
  await fc.assert(property, { numRuns, ...(given !== undefined && { seed: Number(given) }) });
}
