/**
 * A small explicit-state model checker: every state that a model can reach is visited once, breadth first, so that the
 * first violation comes with a shortest trace.
 *
 * @module
 */

/** A step that a model may take. */
export interface Step<State> {
  readonly label: string;
  readonly next: State;
}

/** What is explored. */
export interface Model<State> {
  initial(): Iterable<State>;
  /** Equal keys, equal states. */
  key(state: State): string;
  /** All steps from a state; throws {@linkcode Violation} where a step finds an invariant broken. */
  steps(state: State): Iterable<Step<State>>;
  /** Called for each state; throws {@linkcode Violation}. */
  check(state: State, steps: readonly Step<State>[]): void;
}

/** The model broke one of its rules. */
export class Violation extends Error {
  override readonly name = "Violation";
}

/** How an exploration ended. */
export interface Outcome {
  readonly states: number;
  readonly violation?: string;
  /** Labels of the steps to the violation. */
  readonly trace: readonly string[];
}

interface Visited<State> {
  readonly state: State;
  readonly parent: number;
  readonly label: string;
}

/** Visit all states. @throws {Error} beyond `limit` states: an exploration that was cut short proves nothing. */
export function explore<State>(model: Model<State>, limit = 3_000_000): Outcome {
  const seen = new Set<string>();
  const queue: Visited<State>[] = [];
  const visit = (state: State, parent: number, label: string): void => {
    const key = model.key(state);
    if (seen.has(key)) return;
    seen.add(key);
    queue.push({ state, parent, label });
    if (queue.length > limit) throw new Error(`more than ${limit} states`);
  };
  for (const state of model.initial()) visit(state, -1, "start");
  for (let at = 0; at < queue.length; at++) {
    const { state } = queue[at]!;
    try {
      const steps = [...model.steps(state)];
      model.check(state, steps);
      for (const { label, next } of steps) visit(next, at, label);
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      return { states: queue.length, violation: error.message, trace: traceTo(queue, at) };
    }
  }
  return { states: queue.length, trace: [] };
}

function traceTo<State>(queue: readonly Visited<State>[], last: number): string[] {
  const labels: string[] = [];
  for (let at = last; at >= 0; at = queue[at]!.parent) labels.push(queue[at]!.label);
  return labels.reverse();
}
