/**
 * Label selectors, as Kubernetes has them: `matchLabels` and `matchExpressions`, all of which must hold.
 *
 * @module
 */

/** Labels of a VM or a namespace. */
export type Labels = Readonly<Record<string, string>>;

/** Operators of a requirement. */
export const operators = ["In", "NotIn", "Exists", "DoesNotExist"] as const;
/** One of {@linkcode operators}. */
export type Operator = typeof operators[number];

/** One requirement on a label. `NotIn` also holds where the label is absent. */
export interface Requirement {
  readonly key: string;
  readonly operator: Operator;
  /** For In and NotIn. */
  readonly values: readonly string[];
}

/** A selector as it is written in a policy. */
export interface SelectorSpec {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: Operator;
    readonly values?: readonly string[];
  }[];
}

/** Selects by labels; without requirements, everything. */
export class Selector {
  /** Equal for selectors that require the same in the same order. */
  readonly text: string;

  constructor(readonly requirements: readonly Requirement[]) {
    this.text = requirements.map(describeRequirement).join(",");
  }

  /** A selector from its spec; without one it selects everything. */
  static of(spec: SelectorSpec = {}): Selector {
    const equal = Object.entries(spec.matchLabels ?? {}).map(([key, value]): Requirement => ({
      key,
      operator: "In",
      values: [value],
    }));
    const others = (spec.matchExpressions ?? []).map(({ key, operator, values = [] }) => ({ key, operator, values }));
    return new Selector(equal.concat(others));
  }

  /** Does it select something with these labels? */
  matches(labels: Labels): boolean {
    return this.requirements.every((requirement) => holds(requirement, labels));
  }

  /** A label that everything selected has with exactly this value; undefined when there is none. */
  get anchor(): readonly [key: string, value: string] | undefined {
    const found = this.requirements.find(({ operator, values }) => operator === "In" && values.length === 1);
    return found && [found.key, found.values[0]!];
  }

  /** As `kubectl -l` takes it. */
  toString(): string {
    return this.text || "everything";
  }
}

function holds({ key, operator, values }: Requirement, labels: Labels): boolean {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
  }
}

function describeRequirement({ key, operator, values }: Requirement): string {
  switch (operator) {
    case "In":
      return values.length === 1 ? `${key}=${values[0]}` : `${key} in (${values.join(",")})`;
    case "NotIn":
      return values.length === 1 ? `${key}!=${values[0]}` : `${key} notin (${values.join(",")})`;
    case "Exists":
      return key;
    case "DoesNotExist":
      return `!${key}`;
  }
}
