/**
 * Lines of the log that a VM, or the host's network, can cause as often as it likes: of each kind and of each of them, as many as a budget lets
 * through. How many were left out is a line of its own.
 *
 * @module
 */

import type { Logger } from "@logtape/logtape";
import type { Clock } from "../clock.ts";
import { type Limits, logRate } from "./limits.ts";
import { LogBudget } from "./log_budget.ts";

/** Lines of one kind. */
export interface Notice {
  /** Write one, unless there were too many. @param who A VM's name, or what {@linkcode fromHost} makes of it. */
  tell(who: string, message: string, names: Record<string, unknown>): void;
}

/** The kinds that there are. Disposing it tells what was left out of them. */
export class Notices implements Disposable {
  readonly #budgets: LogBudget[] = [];

  constructor(readonly limits: Limits, readonly clock: Clock) {}

  /** Make a kind. @param what What is told: several of them, of somebody. */
  of(what: string, log: Logger, level: "info" | "warn" | "error"): Notice {
    const budget = new LogBudget(logRate(this.limits), this.clock, (who, count) => {
      log[level]("{count} more {what} of {who} were left out", { count, what, who });
    });
    this.#budgets.push(budget);
    return {
      tell: (who, message, names) => {
        if (budget.take(who)) log[level](message, names);
      },
    };
  }

  [Symbol.dispose](): void {
    for (const budget of this.#budgets) budget[Symbol.dispose]();
  }
}
