/**
 * `t`: the words for configurations, rows, states and inputs.
 *
 * They are TypeBox's: a schema is JSON Schema, `Static<typeof schema>` its type, and every function of TypeBox takes it. They
 * are made here without TypeBox's code, which would be a fifth of each bundle and be read anew by every instance in
 * the host's engine; a test compares.
 */

/* eslint @typescript-eslint/no-unnecessary-type-parameters: "off" -- what is made of words has the type that the caller says */

import type {
  SchemaOptions,
  TAny,
  TArray,
  TBigInt,
  TBoolean,
  TDate,
  TInteger,
  TLiteral,
  TLiteralValue,
  TNull,
  TNumber,
  TObject,
  TOptional,
  TProperties,
  TRecord,
  TSchema,
  TString,
  TUint8Array,
  TUnion,
  TUnknown,
  TUnsafe,
} from "@sinclair/typebox";

export type { Static, TObject, TProperties, TSchema } from "@sinclair/typebox";

/** Between what a value must be. */
export interface Bounds {
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  minItems?: number;
  maxItems?: number;
}

/** What every field may say: words of JSON Schema and those of the host. */
export interface FieldOptions extends SchemaOptions, Bounds {
  /** Not shown at first. */
  "x-advanced"?: boolean;
  /** Of a column: its Arrow type, `decimal128(10, 2)`. */
  arrow?: string;
  additionalProperties?: boolean;
}

const KIND = Symbol.for("TypeBox.Kind");
const OPTIONAL = Symbol.for("TypeBox.Optional");

function made<S extends TSchema>(kind: string, words: object, options: FieldOptions = {}): S {
  return { [KIND]: kind, ...words, ...options } as unknown as S;
}

function one<S extends TSchema>(kind: string, type: string): (options?: FieldOptions) => S {
  return (options) => made(kind, { type }, options);
}

function object<P extends TProperties>(properties: P, options?: FieldOptions): TObject<P> {
  const required = Object.keys(properties).filter((name) => !(OPTIONAL in (properties[name] ?? {})));
  return made("Object", { type: "object", required, properties }, options);
}

/** The words. */
export const t = {
  Any: (options?: FieldOptions): TAny => made("Any", {}, options),
  Array: <S extends TSchema>(items: S, options?: FieldOptions): TArray<S> =>
    made("Array", { type: "array", items }, options),
  /** Of a column: whole numbers of any size, as bigints. */
  BigInt: one<TBigInt>("BigInt", "bigint"),
  Boolean: one<TBoolean>("Boolean", "boolean"),
  /** A number of bytes, `"16MiB"` in a flow; here a number. */
  Bytes: (options?: FieldOptions): TUnsafe<number> =>
    made("Unsafe", { type: ["integer", "string"], format: "bytes", examples: ["16MiB"] }, options),
  /** One of several texts: `t.Choice(["asc", "desc"], { default: "asc" })`. */
  Choice: <const W extends string>(words: readonly W[], options?: FieldOptions): TUnsafe<W> =>
    made("Unsafe", { type: "string", enum: words }, options),
  /** Names of columns: one or a list in a flow; here always a list. */
  Columns: (options?: FieldOptions): TUnsafe<string[]> => {
    const anyOf = [{ type: "array", items: { type: "string" } }, { type: "string" }];
    return made("Unsafe", { anyOf, format: "columns" }, options);
  },
  /** Of a column: times, as Dates. */
  Date: one<TDate>("Date", "Date"),
  /** A time span, `"500ms"` or `"1h"` in a flow; here seconds. */
  Duration: (options?: FieldOptions): TUnsafe<number> =>
    made("Unsafe", { type: ["number", "string"], format: "duration", examples: ["500ms"] }, options),
  Integer: one<TInteger>("Integer", "integer"),
  Literal: <V extends TLiteralValue>(value: V, options?: FieldOptions): TLiteral<V> =>
    made("Literal", { const: value, type: typeof value }, options),
  Null: one<TNull>("Null", "null"),
  /** This, or null. */
  Nullable: <S extends TSchema>(schema: S, options?: FieldOptions): TUnion<[S, TNull]> =>
    made("Union", { anyOf: [schema, t.Null()] }, options),
  Number: one<TNumber>("Number", "number"),
  Object: object,
  /** May be left out. */
  Optional: <S extends TSchema>(schema: S): TOptional<S> =>
    ({ ...schema, [OPTIONAL]: "Optional" }) as unknown as TOptional<S>,
  /** An object with any names: `t.Record(t.String(), t.Number())`. */
  Record: <V extends TSchema>(_names: TString, values: V, options?: FieldOptions): TRecord<TString, V> =>
    made("Record", { type: "object", patternProperties: { "^(.*)$": values } }, options),
  /** A secret: written `${secret:NAME}` in a flow, a text here; never shown. */
  Secret: (options?: FieldOptions): TUnsafe<string> =>
    made("Unsafe", { type: "string", format: "password", writeOnly: true, "x-secret": true }, options),
  String: one<TString>("String", "string"),
  /** Of a column: bytes. */
  Uint8Array: one<TUint8Array>("Uint8Array", "Uint8Array"),
  Union: <const S extends TSchema[]>(anyOf: [...S], options?: FieldOptions): TUnion<S> =>
    made("Union", { anyOf }, options),
  Unknown: (options?: FieldOptions): TUnknown => made("Unknown", {}, options),
  /** Any JSON Schema, with the type that you say it has. */
  Unsafe: <T>(schema: object): TUnsafe<T> => made("Unsafe", schema),
};

/** The fields of an object's schema that must be given: all but those with a default and the optional ones. */
export function needed(schema: TObject): string[] {
  const properties: TProperties = schema.properties;
  return (schema.required ?? []).filter((name) => !("default" in (properties[name] ?? {})));
}
