/**
 * Rows as JSON parts and back.
 *
 * A row is what `JSON.parse` gives; nothing is looked at that need not be. Only columns that an author declared as
 * `t.BigInt()`, `t.Date()`, `t.Uint8Array()` or `t.Number()` are converted, and only where something may differ.
 * On the way out the engine's own `JSON.stringify` does everything; NaN and infinities, which it would silently write as
 * null, are looked for only where it wrote one.
 */

import { Failed } from "./errors.js";
import { isFloating, type Schema } from "./schema.js";
import type { TObject } from "./t.js";
import { fromBase64, toBase64, toBytes, toText } from "./text.js";

/** One row: column → value. */
export type Row = Record<string, unknown>;

/** Rows as an author gives them. */
export type Rows = readonly object[];

/** Brings the declared columns of parsed rows into their JavaScript types, in place. */
export type Reading = (rows: Row[], text: string) => void;

/** The rows in a part. Throws Failed `guest.batch` where it is none. */
export function rowsIn(part: Uint8Array, reading: Reading | null): Row[] {
  const text = toText(part);
  const rows = listIn(text);
  if (rows.length > 0 && (typeof rows[0] !== "object" || rows[0] === null)) {
    throw new Failed("guest.batch", "a part is not an array of JSON objects");
  }
  reading?.(rows as Row[], text);
  return rows as Row[];
}

/** The values in the text of a part. Throws Failed `guest.batch` where it is no JSON array. */
export function listIn(text: string): unknown[] {
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch (error) {
    throw new Failed("guest.batch", "a part is not JSON", { cause: String(error) });
  }
  if (!Array.isArray(values)) {
    throw new Failed("guest.batch", "a part is not a JSON array");
  }
  return values;
}

/** Rows as a part. `schema` is what they were announced as, if anything was. */
export function partOf(rows: Rows, schema: Schema | undefined): Uint8Array {
  let text = JSON.stringify(rows);
  if (text.includes("null") && anyLost(rows, schema)) {
    text = JSON.stringify(rows, (_name, value: unknown) => (isLost(value) ? String(value) : value));
  }
  return toBytes(text);
}

/** How the declared columns of an input are read; null: all as they are. */
export function readingOf(fields: TObject | undefined): Reading | null {
  const named = Object.entries(fields?.properties ?? {}).map(([name, field]) => [name, jsType(field)] as const);
  const typed = named.flatMap(([name, kind]) => {
    const value = VALUES[kind];
    return value === undefined ? [] : [[name, value] as const];
  });
  const numbers = named.filter(([, kind]) => kind === "number").map(([name]) => name);
  if (typed.length === 0 && numbers.length === 0) {
    return null;
  }
  return (rows, text) => {
    for (const [name, value] of typed) {
      convert(rows, name, value);
    }
    // The quote at the end, not at the beginning: a rare first letter is what makes the search fast.
    if (numbers.length > 0 && (text.includes('NaN"') || text.includes('Infinity"'))) {
      for (const name of numbers) {
        convert(rows, name, (value) => (typeof value === "string" ? Number(value) : value));
      }
    }
  };
}

/** Make `JSON.stringify` write bigints and bytes in the JSON form of rows (it knows dates already). */
export function teachJson(): void {
  teach(BigInt.prototype, function (this: unknown) {
    const number = Number(this);
    return Number.isSafeInteger(number) ? number : String(this);
  });
  teach(Uint8Array.prototype, function (this: unknown) {
    return toBase64(this as Uint8Array);
  });
}

type Value = (value: unknown) => unknown;

const VALUES: Record<string, Value> = {
  bigint: (value) => BigInt(value as string | number),
  Date: (value) => new Date(/Z$|[+-]\d\d:\d\d$/.test(value as string) ? (value as string) : `${value as string}Z`),
  Uint8Array: (value) => fromBase64(value as string),
};

function convert(rows: Row[], name: string, value: Value): void {
  for (const row of rows) {
    const given = row[name];
    if (given !== null && given !== undefined) {
      row[name] = value(given);
    }
  }
}

/** The type that a field has in JavaScript; of a union, that of its first member that is not null. */
function jsType(field: Record<string, unknown>): string {
  const members = field.anyOf as { type?: string }[] | undefined;
  const type = members ? members.find((member) => member.type !== "null")?.type : field.type;
  return String(type);
}

function anyLost(rows: Rows, schema: Schema | undefined): boolean {
  if (schema === undefined || schema.open) {
    return holdsLost(rows);
  }
  const names = schema.columns.filter(({ type }) => isFloating(type) || type.includes("<")).map(({ name }) => name);
  return (rows as readonly Row[]).some((row) => names.some((name) => holdsLost(row[name])));
}

function holdsLost(value: unknown): boolean {
  if (typeof value !== "object" || value === null) {
    return isLost(value);
  }
  return Array.isArray(value) ? value.some(holdsLost) : Object.values(value).some(holdsLost);
}

/** What JSON would write as null. */
function isLost(value: unknown): boolean {
  return typeof value === "number" && !Number.isFinite(value);
}

function teach(prototype: object, toJSON: (this: unknown) => unknown): void {
  if (!("toJSON" in prototype)) {
    Object.defineProperty(prototype, "toJSON", { value: toJSON, writable: true, configurable: true });
  }
}
