/**
 * `t`: the words for configurations, rows, states and inputs.
 *
 * They are TypeBox's, so a schema is JSON Schema and `Static<typeof schema>` its type; only those that a plugin needs
 * are in its bundle. Everything else of `@sinclair/typebox` works beside them.
 */

import {
  Any,
  Array as List,
  BigInt,
  Boolean,
  Date,
  Integer,
  Literal,
  Null,
  Number,
  Object,
  Optional,
  Record,
  String,
  Uint8Array,
  Union,
  Unknown,
  Unsafe,
  type SchemaOptions,
  type TLiteral,
  type TObject,
  type TProperties,
  type TSchema,
  type TUnion,
  type TUnsafe,
} from "@sinclair/typebox";

export type { Static, TObject, TProperties, TSchema } from "@sinclair/typebox";

/** What every field may say: besides JSON Schema's words, `x-advanced` hides it from a first look. */
export interface FieldOptions extends SchemaOptions {
  "x-advanced"?: boolean;
}

/** One of several texts: `t.Choice(["asc", "desc"], { default: "asc" })`. */
function Choice<const W extends string>(words: readonly W[], options: FieldOptions = {}): TUnsafe<W> {
  return Unsafe<W>({ type: "string", enum: words, ...options });
}

/** This, or null. */
function Nullable<S extends TSchema>(schema: S, options: FieldOptions = {}): TUnion<[S, ReturnType<typeof Null>]> {
  return Union([schema, Null()], options);
}

/** A secret: written `${secret:NAME}` in a flow, a text here; never shown. */
function Secret(options: FieldOptions = {}): TUnsafe<string> {
  return Unsafe<string>({ type: "string", format: "password", writeOnly: true, "x-secret": true, ...options });
}

/** A time span, `"500ms"` or `"1h"` in a flow; here seconds. */
function Duration(options: FieldOptions = {}): TUnsafe<number> {
  return Unsafe<number>({ type: ["number", "string"], format: "duration", examples: ["500ms"], ...options });
}

/** A number of bytes, `"16MiB"` in a flow; here a number. */
function Bytes(options: FieldOptions = {}): TUnsafe<number> {
  return Unsafe<number>({ type: ["integer", "string"], format: "bytes", examples: ["16MiB"], ...options });
}

/** Names of columns: one or a list in a flow; here always a list. */
function Columns(options: FieldOptions = {}): TUnsafe<string[]> {
  const either = [{ type: "array", items: { type: "string" } }, { type: "string" }];
  return Unsafe<string[]>({ anyOf: either, format: "columns", ...options });
}

/** A number of a column that may be NaN or infinite, and everything else that TypeBox calls a number. */
export const t = {
  Any,
  Array: List,
  BigInt,
  Boolean,
  Bytes,
  Choice,
  Columns,
  Date,
  Duration,
  Integer,
  Literal,
  Null,
  Nullable,
  Number,
  Object,
  Optional,
  Record,
  Secret,
  String,
  Uint8Array,
  Union,
  Unknown,
  Unsafe,
} as const;

/** A schema that allows one value only. */
export type Only<V extends string | number | boolean> = TLiteral<V>;

/** The fields of an object's schema that need not be given: those with a default and the optional ones. */
export function needed(schema: TObject): string[] {
  const properties: TProperties = schema.properties;
  return (schema.required ?? []).filter((name) => !("default" in (properties[name] ?? {})));
}
