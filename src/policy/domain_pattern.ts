/**
 * DNS names in policies: a name, or `*.` and a name for all names below it.
 *
 * @module
 */

/** A DNS name in lower case, without a dot at its end; undefined when it is none. */
export function canonicalDomain(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, "");
  const isLabel = (label: string): boolean => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label);
  return name.length <= 253 && name.split(".").every(isLabel) ? name : undefined;
}

/** A pattern for DNS names. */
export class DomainPattern {
  private constructor(readonly text: string, readonly suffix: string | undefined) {}

  /** Read one; undefined when it is none. Upper and lower case are the same, and a dot at the end does not count. */
  static parse(text: string): DomainPattern | undefined {
    const wild = text.startsWith("*.");
    const base = canonicalDomain(wild ? text.slice(2) : text);
    if (base === undefined) return undefined;
    return wild ? new DomainPattern(`*.${base}`, `.${base}`) : new DomainPattern(base, undefined);
  }

  /**
   * Does it match? `*.` stands for one or more labels, so that `*.example.com` matches `a.b.example.com`, but not `example.com`.
   *
   * @param name In lower case, without a dot at the end; a dot inside a label has a backslash before it.
   */
  matches(name: string): boolean {
    if (this.suffix === undefined) return name === this.text;
    return name.length > this.suffix.length && name.endsWith(this.suffix) && name.at(-this.suffix.length - 1) !== "\\";
  }

  /** Does it match names below this one? @param name As in {@linkcode matches}; the root, above all of them, is a dot. */
  matchesBelow(name: string): boolean {
    return name === "." || (this.suffix ?? this.text).endsWith(`.${name}`);
  }

  toString(): string {
    return this.text;
  }
}
