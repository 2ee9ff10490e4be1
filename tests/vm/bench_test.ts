/**
 * The guests' bench measures what it says: short, and circuits alone.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { Figure } from "../../bench/figures.ts";
import { measureGuests } from "../../bench/guests/measure.ts";
import { GUEST_TO_GUEST, GUEST_TO_HOST } from "../../bench/guests/parts.ts";

Deno.test("each workload of the guests' bench runs over circuits, and leaves figures", async () => {
  const figures: Figure[] = [];
  for await (const figure of measureGuests(1, ["csvn"])) figures.push(figure);
  assert(figures.every(({ value, unit }) => unit === "%" || value > 0), JSON.stringify(figures));
  const measures = (part: string): string[] =>
    figures.filter((f) => f.part === part).map(({ measure, who }) => who === "csvn" ? measure : `${measure}: ${who}`);
  const [guests, host] = [measures(GUEST_TO_GUEST), measures(GUEST_TO_HOST)];
  assertEquals(guests.filter((measure) => !host.includes(measure)), ["bulk, written and read: csvn mapped"]);
  assertEquals(host.length, 21);
});
