/** What an author's functions give and get besides rows: outputs, refusals, positions, splits, batches. */

import type { Row, Rows } from "./rows.js";
import type { Schema } from "./schema.js";
import { toBase64, toBytes } from "./text.js";

/** What JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** A value, or a promise of it. */
export type May<T> = T | Promise<T>;

/** A generator, sync or async. */
export type Gen<T> = Generator<T, void, undefined> | AsyncGenerator<T, void, undefined>;

/** An independently readable part of a source. */
export interface Split {
  /** Names the thing read (a path and a byte range, a partition), never an index. */
  id: string;
  /** What is needed to read it. */
  data?: Json;
  /** The position before its first row. */
  start?: Json;
  /** Splits that must be finished in a committed epoch before this one starts. */
  after?: readonly string[];
  /** An estimate in the source's own unit, for progress. */
  size?: number | null;
}

/** How much the engine can take: rows, bytes, and within how many seconds to answer. */
export interface Demand {
  rows: number;
  bytes: number;
  seconds: number;
}

/** A stream that could be read or written. */
export interface Stream {
  name: string;
  schema?: Schema | null;
  key?: readonly string[];
  cursor?: string | null;
}

/** Rows for a named output of a processor, or a named stream of a source. Made by `out`. */
export class Out {
  readonly name: string;
  readonly rows: Rows;

  constructor(name: string, rows: Rows) {
    this.name = name;
    this.rows = rows;
  }
}

/** Nothing to give now. Made by `idle`. */
export class Idle<P = unknown> {
  readonly after: number | null;
  readonly position: P | undefined;

  constructor(after: number | null, position: P | undefined) {
    this.after = after;
    this.position = position;
  }
}

/** The refusal of a row. Made by `reject`. */
export class Refusal {
  readonly code: string;
  readonly message: string;

  constructor(code: string, message: string) {
    this.code = code;
    this.message = message;
  }
}

/** Something that a source could not read as rows. Made by `unreadable`. */
export class Unreadable {
  readonly code: string;
  readonly message: string;
  readonly place: Json;
  readonly raw: string;

  constructor(code: string, message: string, raw: Uint8Array, place: Json) {
    this.code = code;
    this.message = message;
    this.place = place;
    this.raw = toBase64(raw.subarray(0, 64 * 1024));
  }
}

/** Rows for a named output (of a source: for a stream). */
export function out(name: string, rows: Rows | object): Out {
  return new Out(name, Array.isArray(rows) ? (rows as Rows) : [rows]);
}

/** Yielded by a source that has nothing now: ask again after so many seconds. `position` moves on without rows. */
export function idle<P = undefined>(after: number | null = null, position?: P): Idle<P> {
  return new Idle(after, position);
}

/** Returned for a row that is refused: it becomes a dead letter with this code. */
export function reject(code: string, message = code): Refusal {
  return new Refusal(code, message);
}

/** Yielded by a source for what it could not read: the bytes (64 KiB are kept), and for people where they were. */
export function unreadable(
  code: string,
  message: string,
  raw: Uint8Array | string = "",
  place: Json = null,
): Unreadable {
  return new Unreadable(code, message, typeof raw === "string" ? toBytes(raw) : raw, place);
}

/** The rows of one call, and where they are from. Iterating it gives its rows. */
export class Batch<R extends object = Row> implements Iterable<R> {
  readonly rows: R[];
  readonly schema: Schema | undefined;
  /** The input they came in by; empty for the main one. */
  readonly input: string;
  /** The stream they belong to; empty for the main one. */
  readonly stream: string;
  readonly #refused = new Map<number, Refusal>();

  constructor(rows: R[], schema: Schema | undefined, input: string, stream: string) {
    this.rows = rows;
    this.schema = schema;
    this.input = input;
    this.stream = stream;
  }

  get length(): number {
    return this.rows.length;
  }

  [Symbol.iterator](): Iterator<R> {
    return this.rows[Symbol.iterator]();
  }

  /** Refuse the rows for which `test` holds: they become dead letters. Gives the rows that are left. */
  reject(test: (row: R, index: number) => boolean, code: string, message = code): R[] {
    const refusal = new Refusal(code, message);
    return this.rows.filter((row, index) => {
      if (!this.#refused.has(index) && test(row, index)) {
        this.#refused.set(index, refusal);
      }
      return !this.#refused.has(index);
    });
  }

  /** Refuse the row of this number. */
  rejectAt(index: number, refusal: Refusal): void {
    if (!this.#refused.has(index)) {
      this.#refused.set(index, refusal);
    }
  }

  /** Row number → why it was refused. */
  get refused(): ReadonlyMap<number, Refusal> {
    return this.#refused;
  }
}
