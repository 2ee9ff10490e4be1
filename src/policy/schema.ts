/**
 * The shape of policy documents, by the JSON Schemas of policies/schema, with errors that say what is expected.
 *
 * @module
 */

import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import casesSchema from "../../policies/schema/cases.schema.json" with { type: "json" };
import circuitPolicy from "../../policies/schema/circuitpolicy.schema.json" with { type: "json" };
import networkPolicy from "../../policies/schema/networkpolicy.schema.json" with { type: "json" };

/** Where in a document: keys and indices. */
export type Path = readonly (string | number)[];

/** A violation of a schema. */
export interface Violation {
  readonly path: Path;
  readonly message: string;
}

/** `spec.ingress[0].from`. */
export function formatPath(path: Path): string {
  return path.map((part, i) => typeof part === "number" ? `[${part}]` : i === 0 ? quoted(part) : `.${quoted(part)}`)
    .join("");
}

function quoted(key: string): string {
  return /^[\w-]+$/.test(key) ? key : JSON.stringify(key.length > 80 ? `${key.slice(0, 80)}…` : key);
}

const ajv = new Ajv2020({ allErrors: true, verbose: true, allowUnionTypes: true });
ajv.addKeyword({ keyword: "expected", schemaType: "string" });
ajv.addSchema(networkPolicy);

const cases = ajv.compile(casesSchema);
const validators = new Map<string, ValidateFunction>([
  ["networking.k8s.io/v1 NetworkPolicy", ajv.compile(networkPolicy)],
  ["policy.csvn/v1 CircuitPolicy", ajv.compile(circuitPolicy)],
]);

/** What can be read: `apiVersion kind`. */
export const documentTypes: readonly string[] = [...validators.keys()];

/** A kind of text in policies, such as a label's value. */
export interface Syntax {
  /** What is expected, such as `a label value of …`. */
  readonly expected: string;
  matches(text: string): boolean;
}

function syntax({ pattern, maxLength, expected }: { pattern: string; maxLength: number; expected: string }): Syntax {
  const regexp = new RegExp(pattern, "u");
  return { expected, matches: (text) => text.length <= maxLength && regexp.test(text) };
}

const definitions = networkPolicy.$defs;
/** Keys of labels. */
export const labelKey: Syntax = syntax(definitions.labelKey);
/** Values of labels. */
export const labelValue: Syntax = syntax(definitions.labelValue);
/** Names of namespaces. */
export const namespaceName: Syntax = syntax(definitions.namespace);
/** Ports, by number or name. */
export const portName: Syntax = syntax(definitions.ports.items.properties.port);

/** Check a document of one of the {@linkcode documentTypes}. */
export function violations(type: string, value: unknown): Violation[] {
  return check(validators.get(type)!, value);
}

/** Check a file of cases. */
export function caseViolations(value: unknown): Violation[] {
  return check(cases, value);
}

function check(validate: ValidateFunction, value: unknown): Violation[] {
  if (validate(value)) return [];
  // A key that is wrong is told twice: what is wrong with it, and that it is.
  const told = validate.errors!.filter(({ keyword }) => keyword !== "propertyNames");
  const found = new Map<string, Violation>();
  for (const error of told) {
    const violation = { path: pathOf(error, value), message: describe(error) };
    found.set(`${formatPath(violation.path)} ${violation.message}`, violation);
  }
  return [...found.values()];
}

function pathOf({ instancePath, keyword, params, propertyName }: ErrorObject, root: unknown): Path {
  let node = root;
  const path = instancePath.split("/").slice(1).map((part) => {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    const index = Array.isArray(node);
    node = (node as Record<string, unknown>)?.[key];
    return index ? Number(key) : key;
  });
  if (keyword === "additionalProperties") return [...path, params.additionalProperty as string];
  return propertyName === undefined ? path : [...path, propertyName];
}

function describe({ keyword, params, parentSchema, data, propertyName }: ErrorObject): string {
  switch (keyword) {
    case "additionalProperties": {
      const known = Object.keys((parentSchema as { properties: object }).properties);
      return `unknown field; known are ${known.join(", ")}`;
    }
    case "required":
      return `${params.missingProperty} is missing`;
    case "enum":
      return `${show(data)} is not one of ${(params.allowedValues as unknown[]).join(", ")}`;
    case "minItems":
      return "the list is empty";
    case "maxItems":
      return `the list has more than ${params.limit} items`;
  }
  const { expected } = parentSchema as { expected?: string };
  if (expected !== undefined) return `${show(propertyName ?? data)} is not ${expected}`;
  if (keyword === "type") return `${show(data)} is not ${article(String(params.type))}`;
  return `${show(data)} is wrong: ${keyword}`;
}

const words: Readonly<Record<string, string>> = {
  object: "a mapping",
  array: "a list",
  string: "a text",
  integer: "a whole number",
  boolean: "true or false",
};

function article(types: string): string {
  return types.split(",").map((type) => words[type] ?? type).join(" or ");
}

function show(data: unknown): string {
  if (Array.isArray(data)) return "a list";
  if (typeof data === "object" && data !== null) return "a mapping";
  const text = JSON.stringify(data) ?? String(data);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
