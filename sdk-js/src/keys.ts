/**
 * Keys as canonical bytes: the same value gives the same bytes in every language, whatever the width of its column.
 *
 * Each column is a tag byte and a payload, little-endian: 00 null, 01 boolean, 02 int64, 03 uint64 above that, 04 float64,
 * 05 decimal, 06 text, 07 binary (5 to 7: u32 length, bytes), 08 date (int64 days), 09 and 0a time in UTC and without a
 * zone (int64 microseconds, u16 nanoseconds below), 0b time of day (int64 nanoseconds), 0c duration (as 09).
 */

import { ConfigError } from "./errors.js";
import { encodeOf, guessed, joined, NULL, type Encode } from "./key-bytes.js";
import { KeyReader } from "./key-values.js";
import type { Row, Rows } from "./rows.js";
import type { Schema } from "./schema.js";
import { fromBase64, toBase64 } from "./text.js";

/** So many keys are remembered with their bytes. */
const KEPT = 10_000;

/** Encodes the keys of rows as base64; a key that was seen lately is not encoded again. */
export class Keys {
  readonly columns: readonly string[];
  readonly #encode: Encode[];
  #known = new Map<unknown, string>();

  /** Throws ConfigError `keys.column` and `keys.type` for columns that are not there or cannot be keys. */
  constructor(columns: readonly string[], schema: Schema | undefined) {
    this.columns = columns;
    this.#encode = columns.map((name) => encoderOf(name, schema));
  }

  /** The key of each row. */
  of(rows: Rows): string[] {
    return (rows as readonly Row[]).map((row) => this.key(row));
  }

  /** The key of a row. */
  key(row: Row): string {
    const values = this.columns.map((name) => exact(row[name] ?? null));
    const [only] = values;
    const short = values.length === 1 && typeof only !== "object" ? only : JSON.stringify(values);
    let key = this.#known.get(short);
    if (key === undefined) {
      if (this.#known.size >= KEPT) {
        this.#known = new Map();
      }
      key = toBase64(joined(values.map((value, at) => (value === null ? NULL : (this.#encode[at] ?? guessed)(value)))));
      this.#known.set(short, key);
    }
    return key;
  }

  /** The key columns that a key was made of. */
  row(key: string): Row {
    const reader = new KeyReader(fromBase64(key));
    return Object.fromEntries(this.columns.map((name) => [name, reader.next()]));
  }
}

/** The value as JSON keeps it: not a number would become null. */
function exact(value: unknown): unknown {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

function encoderOf(name: string, schema: Schema | undefined): Encode {
  const column = schema?.column(name);
  if (column === undefined) {
    if (schema !== undefined && !schema.open) {
      const cause = `the columns are ${schema.names.map((known) => `\`${known}\``).join(", ")}`;
      throw new ConfigError("keys.column", `there is no column \`${name}\` to take the key from`, { cause });
    }
    return guessed;
  }
  const encode = encodeOf(column.type);
  if (encode === null) {
    throw new ConfigError("keys.type", `\`${name}\` is ${column.type}, which cannot be a key`);
  }
  return encode;
}
