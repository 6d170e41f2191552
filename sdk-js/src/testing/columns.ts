/** The columns of rows in tests, told by their values. */

import { Schema, type Column } from "../schema.js";

/** The schema of rows: every column that any of them has. */
export function columnsOf(rows: readonly object[]): Schema {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const columns = names.map((name): Column => {
    const values = rows.map((row) => (row as Record<string, unknown>)[name]);
    return { name, type: typeOf(values), nullable: true };
  });
  return new Schema(columns);
}

function typeOf(values: unknown[]): string {
  const known = values.filter((value) => value !== null && value !== undefined);
  const [first] = known;
  if (first === undefined) {
    return "null";
  }
  if (known.every((value) => typeof value === "bigint" || Number.isInteger(value))) {
    return "int64";
  }
  if (known.every((value) => typeof value === "number")) {
    return "double";
  }
  if (typeof first === "boolean") {
    return "bool";
  }
  if (first instanceof Date) {
    return "timestamp[us, tz=UTC]";
  }
  if (first instanceof Uint8Array) {
    return "binary";
  }
  if (Array.isArray(first)) {
    return `list<item: ${typeOf(known.flat())}>`;
  }
  return typeof first === "object" ? structOf(known) : "string";
}

function structOf(values: object[]): string {
  const inner = columnsOf(values).columns.map(({ name, type }) => `${name}: ${type}`);
  return `struct<${inner.join(", ")}>`;
}
