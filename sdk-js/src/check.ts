/** Values by their JSON Schema: defaults filled in, words such as durations read, and what is wrong told in words. */

import { ConfigError, type Problem } from "./errors.js";
import { needed, type Bounds, type TObject } from "./t.js";
import { bytesIn, secondsIn } from "./units.js";

/** A schema as this reads it: JSON Schema's words that TypeBox writes. */
interface Schema extends Bounds {
  type?: string | string[];
  format?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  allOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  patternProperties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  writeOnly?: boolean;
}

type Values = Record<string, unknown>;

const EXPECTED: Record<string, string> = {
  integer: "a whole number",
  number: "a number",
  boolean: "true or false",
  string: "a text",
  array: "a list",
  object: "a mapping",
  null: "null",
};
const UNITS: Record<string, (text: string) => number | null> = { duration: secondsIn, bytes: bytesIn };

/** The object with its defaults. Throws ConfigError with one problem for each wrong field. */
export function checked(schema: TObject, given: unknown): Values {
  const problems: Problem[] = [];
  const value = object(schema as Schema, given ?? {}, "", problems);
  const [first, ...more] = problems;
  if (first !== undefined) {
    const error = new ConfigError(first.code, first.message, first);
    throw Object.assign(error, { problems: [first, ...more] });
  }
  return value as Values;
}

/** What a value is before anybody gave one: its default, or the zero of its type. */
export function blank(schema: object): unknown {
  const told = schema as Schema;
  if ("default" in told) {
    return structured(told.default);
  }
  if (told.properties) {
    const kept = (told.required ?? []).map((name) => [name, blank(told.properties?.[name] ?? {})]);
    return Object.fromEntries(kept) as Values;
  }
  const zero: Record<string, unknown> = { integer: 0, number: 0, string: "", boolean: false, array: [], object: {} };
  const kind = Array.isArray(told.type) ? told.type[0] : told.type;
  return kind === undefined ? null : structured(zero[kind] ?? null);
}

/** A JSON Schema (2020-12) of the host's kind: what has a default need not be given, what is not known is refused. */
export function described(schema: TObject, title: string, description: string): Values {
  const { properties } = schema;
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    ...schema,
    type: "object",
    properties,
    required: needed(schema),
    additionalProperties: schema.additionalProperties ?? false,
    title,
    description,
  };
}

function conform(schema: Schema, value: unknown, place: string, problems: Problem[]): unknown {
  if (schema.format === "columns" && typeof value === "string") {
    return [value];
  }
  if (schema.anyOf) {
    return either(schema.anyOf, value, place, problems);
  }
  if (schema.allOf) {
    const parts = schema.allOf.map((part) => conform(part, value, place, problems));
    return Object.assign({}, ...parts) as unknown;
  }
  const unit = schema.format === undefined ? undefined : UNITS[schema.format];
  if (unit && typeof value === "string") {
    const read = unit(value);
    return read ?? wrong(problems, "config.value", place, `is no ${schema.format ?? ""}`, shown(value));
  }
  if (schema.const !== undefined && value !== schema.const) {
    return wrong(problems, "config.choice", place, `cannot be ${shown(value)}`, `it is ${shown(schema.const)}`);
  }
  const typed = ofType(schema, value);
  if (typed === undefined) {
    const kinds = Array.isArray(schema.type) ? schema.type : [schema.type ?? ""];
    const expected = kinds.map((kind) => EXPECTED[kind] ?? kind).join(" or ");
    return wrong(problems, "config.type", place, `must be ${expected}`, itIs(schema, value), `write ${expected}`);
  }
  if (schema.enum && !schema.enum.includes(typed)) {
    const cause = `it is one of ${schema.enum.map(shown).join(", ")}`;
    return wrong(problems, "config.choice", place, `cannot be ${shown(value)}`, cause);
  }
  bounds(schema, typed, place, problems);
  if (Array.isArray(typed)) {
    const { items } = schema;
    return items ? typed.map((item, index) => conform(items, item, `${place}/${index}`, problems)) : typed;
  }
  return isObject(typed) ? object(schema, typed, place, problems) : typed;
}

function object(schema: Schema, given: unknown, place: string, problems: Problem[]): unknown {
  if (!isObject(given)) {
    return wrong(problems, "config.type", place, "must be a mapping", `it is ${shown(given)}`, "write a mapping");
  }
  const known = schema.properties ?? {};
  const made: Values = {};
  for (const [name, value] of Object.entries(given)) {
    const field = known[name] ?? other(schema, name);
    const inside = `${place}/${escaped(name)}`;
    if (field === null) {
      const cause = `known fields are ${Object.keys(known).map(shown).join(", ") || "none"}`;
      const message = `there is no field \`${name}\``;
      problems.push({ code: "config.unknown_field", message, kind: "config", pointer: inside, cause });
    } else {
      made[name] = conform(field, value, inside, problems);
    }
  }
  for (const [name, field] of Object.entries(known)) {
    if (name in made) {
      continue;
    }
    if ("default" in field) {
      made[name] = conform(field, structured(field.default), `${place}/${escaped(name)}`, problems);
    } else if (schema.required?.includes(name) && !(name in given)) {
      wrong(problems, "config.missing", `${place}/${escaped(name)}`, "is missing", null, `add \`${name}\``);
    }
  }
  return made;
}

/** The schema of a field that is not among `properties`; null: there may be none. */
function other(schema: Schema, name: string): Schema | null {
  for (const [pattern, field] of Object.entries(schema.patternProperties ?? {})) {
    if (new RegExp(pattern).test(name)) {
      return field;
    }
  }
  const more = schema.additionalProperties ?? (schema.properties === undefined && !schema.patternProperties);
  return more === true ? {} : more === false ? null : more;
}

function either(members: Schema[], value: unknown, place: string, problems: Problem[]): unknown {
  let least: Problem[] | null = null;
  for (const member of members) {
    const found: Problem[] = [];
    const typed = conform(member, value, place, found);
    if (found.length === 0) {
      return typed;
    }
    least = least === null || depth(found) > depth(least) ? found : least;
  }
  const words = members.flatMap((member) => (member.const === undefined ? [] : [shown(member.const)]));
  if (words.length === members.length) {
    return wrong(problems, "config.choice", place, `cannot be ${shown(value)}`, `it is one of ${words.join(", ")}`);
  }
  problems.push(...(least ?? []));
  return undefined;
}

/** How far into the value the first problem of a union's member is: the deepest member is the one that was meant. */
function depth(problems: Problem[]): number {
  return (problems[0]?.pointer ?? "").split("/").length;
}

/** The value in the schema's type; numbers and booleans may be text (from `${env:NAME}`). Undefined: it is not one. */
function ofType(schema: Schema, value: unknown): unknown {
  if (schema.type === undefined) {
    return value;
  }
  for (const kind of Array.isArray(schema.type) ? schema.type : [schema.type]) {
    const typed = ofKind(kind, value);
    if (typed !== undefined) {
      return typed;
    }
  }
  return undefined;
}

function ofKind(kind: string, value: unknown): unknown {
  switch (kind) {
    case "integer":
    case "number": {
      const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
      const fits = typeof number === "number" && !Number.isNaN(number);
      return fits && (kind === "number" || Number.isInteger(number)) ? number : undefined;
    }
    case "boolean": {
      const text = typeof value === "string" ? value.toLowerCase() : value;
      return text === true || text === "true" ? true : text === false || text === "false" ? false : undefined;
    }
    case "array":
      return Array.isArray(value) ? value : undefined;
    case "object":
      return isObject(value) ? value : undefined;
    case "null":
      return value === null ? null : undefined;
    default:
      return typeof value === kind ? value : undefined;
  }
}

function bounds(schema: Schema, value: unknown, place: string, problems: Problem[]): void {
  const size = typeof value === "string" || Array.isArray(value) ? value.length : null;
  const unit = typeof value === "string" ? "characters long" : "items long";
  const number = typeof value === "number" ? value : null;
  const least = typeof value === "string" ? schema.minLength : schema.minItems;
  const most = typeof value === "string" ? schema.maxLength : schema.maxItems;
  const rules: [boolean, string][] = [
    [number !== null && number < (schema.minimum ?? -Infinity), `at least ${String(schema.minimum)}`],
    [number !== null && number > (schema.maximum ?? Infinity), `at most ${String(schema.maximum)}`],
    [
      number !== null && number <= (schema.exclusiveMinimum ?? -Infinity),
      `more than ${String(schema.exclusiveMinimum)}`,
    ],
    [
      number !== null && number >= (schema.exclusiveMaximum ?? Infinity),
      `less than ${String(schema.exclusiveMaximum)}`,
    ],
    [number !== null && number % (schema.multipleOf ?? number) !== 0, `a multiple of ${String(schema.multipleOf)}`],
    [size !== null && size < (least ?? 0), `at least ${String(least)} ${unit}`],
    [size !== null && size > (most ?? Infinity), `at most ${String(most)} ${unit}`],
    [
      typeof value === "string" && schema.pattern !== undefined && !new RegExp(schema.pattern).test(value),
      `of the form ${String(schema.pattern)}`,
    ],
  ];
  for (const [broken, wanted] of rules) {
    if (broken) {
      wrong(
        problems,
        "config.bound",
        place,
        `must be ${wanted}`,
        itIs(schema, value),
        `give a value that is ${wanted}`,
      );
      return;
    }
  }
}

function wrong(
  problems: Problem[],
  code: string,
  pointer: string,
  what: string,
  cause: string | null,
  fix: string | null = null,
): unknown {
  const name = pointer === "" ? "the configuration" : `\`${pointer.slice(pointer.lastIndexOf("/") + 1)}\``;
  problems.push({ code, message: `${name} ${what}`, kind: "config", pointer, cause, fix });
  return undefined;
}

/** The value for a message; of a secret nothing. */
function itIs(schema: Schema, value: unknown): string | null {
  return schema.writeOnly === true ? null : `it is ${shown(value)}`;
}

function isObject(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string {
  if (Array.isArray(value) || isObject(value)) {
    return Array.isArray(value) ? "a list" : "a mapping";
  }
  const text = typeof value === "string" ? `\`${value}\`` : String(value);
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

function escaped(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

function structured(value: unknown): unknown {
  return typeof value === "object" && value !== null ? (JSON.parse(JSON.stringify(value)) as unknown) : value;
}
