/**
 * Reads values from YAML nodes, strictly, and collects errors with their positions.
 *
 * @module
 */

import { isMap, isScalar, isSeq, type Node, type YAMLMap } from "yaml";
import type { YamlText } from "../yaml/documents.ts";
import { ConfigError } from "./config.ts";

/** Collects errors with their positions. */
export class YamlReader {
  readonly errors: string[] = [];

  constructor(readonly file: string, readonly yaml: YamlText) {}

  error(at: Node | number | null | undefined, message: string): void {
    const offset = typeof at === "number" ? at : at?.range?.[0] ?? 0;
    const { line, column } = this.yaml.position(offset);
    this.errors.push(`${this.file}:${line}:${column}: ${message}`);
  }

  /** A scalar, read by one of the readers of values.ts. */
  scalar<T>(node: unknown, path: string, read: (text: string) => T): T | undefined {
    if (!isScalar(node) || node.value === null || typeof node.value === "object") {
      this.error(node as Node, `${path}: a single value is expected`);
      return undefined;
    }
    try {
      // As written: 0660 must not become 432.
      return read(typeof node.value === "string" ? node.value : node.source ?? String(node.value));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.error(node, `${path}: ${error.message}`);
      return undefined;
    }
  }

  /** The fields of a mapping, those that are known; each key is checked. */
  fields<K extends string>(node: unknown, path: string, known: readonly K[]): Partial<Record<K, Node>> {
    const found: Partial<Record<K, Node>> = {};
    if (!isMap(node)) {
      this.error(node as Node, `${path || "the file"}: a mapping is expected`);
      return found;
    }
    for (const { key, value } of (node as YAMLMap<Node, Node | null>).items) {
      const name = isScalar(key) ? String(key.value) : undefined;
      const field = known.find((candidate) => candidate === name);
      if (field === undefined) {
        this.error(key, `${path ? path + "." : ""}${name ?? "?"}: unknown field; known are ${known.join(", ")}`);
      } else if (value === null) {
        this.error(key, `${path ? path + "." : ""}${field}: has no value`);
      } else {
        found[field] = value;
      }
    }
    return found;
  }

  /** The items of a sequence. */
  items(node: unknown, path: string): Node[] {
    if (isSeq(node)) return node.items as Node[];
    this.error(node as Node, `${path}: a list is expected`);
    return [];
  }

  /** A list of single values. */
  list<T>(node: Node | undefined, path: string, read: (text: string) => T): T[] {
    if (!node) return [];
    return this.items(node, path).flatMap((item, i) => {
      const value = this.scalar(item, `${path}[${i}]`, read);
      return value === undefined ? [] : [value];
    });
  }

  /** The entries of a mapping whose keys are read, too. */
  entries<T>(node: Node, path: string, read: (key: string) => T): { key: T; value: Node | null; path: string }[] {
    if (!isMap(node)) {
      this.error(node, `${path}: a mapping is expected`);
      return [];
    }
    return (node as YAMLMap<Node, Node | null>).items.flatMap(({ key, value }) => {
      const name = this.scalar(key, path, read);
      return name === undefined ? [] : [{ key: name, value, path: `${path}.${name}` }];
    });
  }
}
