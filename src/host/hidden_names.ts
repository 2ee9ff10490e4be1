/**
 * Questions for names that policy hides: told in the log, of each VM so many, and counted.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { LogBudget, type LogRate } from "../circuit/log_budget.ts";
import type { Clock } from "../clock.ts";

const log = getLogger(["csvn", "policy"]);

/** How many lines of one VM are written: a guest may ask as often, and for as many names, as it likes. */
const RATE: LogRate = { burst: 10, perSecond: 1, summaryMs: 10_000 };

/** Tells of hidden names. */
export class HiddenNames implements Disposable {
  /** How many questions there were, by VM. */
  readonly #counts = new Map<string, number>();
  readonly #budget: LogBudget;

  constructor(clock: Clock) {
    this.#budget = new LogBudget(RATE, clock, (vm, count) => {
      log.info("{count} more questions of {vm} for hidden names were left out", { vm, count });
    });
  }

  /** A VM has asked for a name that is hidden from it. */
  tell(vm: string, name: string, type: string): void {
    this.#counts.set(vm, this.count(vm) + 1);
    if (!this.#budget.take(vm)) return;
    log.info("hidden: {vm} asked for {name}, {type}: no rule allows that name", { vm, name, type });
  }

  /** How many questions there were. */
  count(vm: string): number {
    return this.#counts.get(vm) ?? 0;
  }

  /** A VM has gone. */
  forget(vm: string): void {
    this.#counts.delete(vm);
  }

  [Symbol.dispose](): void {
    this.#budget[Symbol.dispose]();
  }
}
