/**
 * Rows as JSON parts and back.
 *
 * A row is what `JSON.parse` gives; nothing is looked at that need not be. Only columns that an author declared as
 * `t.BigInt()`, `t.Date()`, `t.Uint8Array()` or `t.Number()` are converted, and only where something may differ.
 * On the way out the engine's own `JSON.stringify` does everything; NaN and infinities, which it would silently write as
 * null, are looked for only where it wrote one.
 */

import { Failed } from "./errors.js";
import type { Header } from "./frames.js";
import { isFloating, Schema } from "./schema.js";
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

/** One of an answer's outputs, whose part is added; with what JSON does not say of its rows, where nothing was planned. */
export function outputOf(name: string, rows: Rows, schema: Schema | undefined, parts: Uint8Array[]): Header {
  const before = written;
  parts.push(partOf(rows, schema));
  const told = { name, part: parts.length - 1 };
  const types = written > before && (schema?.open ?? true) ? typesIn(rows as readonly Row[]) : null;
  return types === null ? told : { ...told, schema: types };
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

/** Make `JSON.stringify` write bigints and bytes in the JSON form of rows (it knows dates already), and note that it did. */
export function teachJson(): void {
  teach(BigInt.prototype, (value) => {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  });
  teach(Uint8Array.prototype, (value) => toBase64(value as Uint8Array));
  teach(Date.prototype, (value) => (Number.isNaN(Number(value)) ? null : (value as Date).toISOString()));
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

/** How many values were written whose type JSON does not tell. */
let written = 0;

function teach(prototype: object, json: (value: unknown) => unknown): void {
  const toJSON = function (this: unknown): unknown {
    written += 1;
    return json(this);
  };
  Object.defineProperty(prototype, "toJSON", { value: toJSON, writable: true, configurable: true });
}

/** The columns whose types JSON does not tell, where all values of one are of that type. */
function typesIn(rows: readonly Row[]): Schema | null {
  const types = new Map<string, string | null>();
  for (const row of rows) {
    for (const [name, value] of Object.entries(row)) {
      if (value !== null && value !== undefined) {
        const type = typeIn(value);
        types.set(name, (types.get(name) ?? type) === type ? type : null);
      }
    }
  }
  const columns = [...types].flatMap(([name, type]) => (type === null ? [] : [{ name, type, nullable: true }]));
  return columns.length === 0 ? null : new Schema(columns, true);
}

function typeIn(value: unknown): string | null {
  if (typeof value === "bigint") {
    return BigInt.asIntN(64, value) === value ? "int64" : null;
  }
  return value instanceof Date ? "timestamp[us, tz=UTC]" : value instanceof Uint8Array ? "binary" : null;
}
