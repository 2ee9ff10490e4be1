/**
 * Questions for names that policy hides: told in the log, of each VM so many, and counted.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock } from "../clock.ts";

const log = getLogger(["csvn", "policy"]);

/** Lines of one VM in {@linkcode WINDOW_MS}: a guest may ask as often, and for as many names, as it likes. */
const LINES_MAX = 10;
const WINDOW_MS = 10_000;

interface Told {
  count: number;
  /** When the window began. */
  since: number;
  lines: number;
  left: number;
}

/** Tells of hidden names. */
export class HiddenNames {
  readonly #vms = new Map<string, Told>();

  constructor(readonly clock: Clock) {}

  /** A VM has asked for a name that is hidden from it. */
  tell(vm: string, name: string, type: string): void {
    const now = this.clock.now();
    const told = this.#vms.get(vm) ?? { count: 0, since: now, lines: 0, left: 0 };
    this.#vms.set(vm, told);
    told.count++;
    if (now - told.since >= WINDOW_MS) Object.assign(told, { since: now, lines: 0 });
    if (told.lines >= LINES_MAX) {
      told.left++;
      return;
    }
    told.lines++;
    const left = told.left === 0 ? "" : ` (${told.left} more were left out)`;
    told.left = 0;
    log.info("hidden: {vm} asked for {name}, {type}: no rule allows that name{left}", { vm, name, type, left });
  }

  /** How many questions there were. */
  count(vm: string): number {
    return this.#vms.get(vm)?.count ?? 0;
  }

  /** A VM has gone. */
  forget(vm: string): void {
    this.#vms.delete(vm);
  }
}
