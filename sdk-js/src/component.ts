/**
 * `source`, `processor`, `sink`, `tool`: what an author declares.
 *
 * In every function the data come first, then the configuration, then `ctx`; functions without data begin with the
 * configuration. What `open` returns is `ctx.own` in all later calls.
 */

import type { Static, TObject, TSchema } from "@sinclair/typebox";
import type { Context } from "./context.js";
import type { Problem } from "./errors.js";
import type { Row, Rows } from "./rows.js";
import type { Schema } from "./schema.js";
import type { KeyState } from "./state.js";
import type { Batch, Demand, Gen, Idle, Json, May, Out, Refusal, Split, Stream, Unreadable } from "./values.js";

/** A configuration without fields. */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- what TypeBox makes of `t.Object({})`
export type NoFields = TObject<{}>;

/** No states by name. */
export type NoStates = NoFields["properties"];

/** A function of an author that is given data. */
export type On<A, C extends TObject, R, X> = (data: A, config: Static<C>, ctx: Context & X) => R;

/** A function of an author that is given none. */
export type Do<C extends TObject, R, X> = (config: Static<C>, ctx: Context & X) => R;

/** What `open` returned. */
export interface Own<O> {
  readonly own: O;
}

/** A state's values, and how long one lives after its last `put`: seconds, or the configuration's field that says so. */
export interface StateOptions {
  /** Seconds, or the name of the field that has them. */
  ttl?: number | string;
}

/** What all components say. */
export interface Head<C extends TObject, O> {
  /** The first line is the summary shown everywhere. */
  doc: string;
  config?: C;
  /** Its name, if not the export's: `withVat` is `with-vat`. */
  name?: string;
  /** Older names, which flows may still use. */
  aliases?: readonly string[];
  /** What to use instead, where it will go. */
  deprecated?: string;
  /** The version of its positions and states. */
  version?: number;
  /** At most so many lanes. */
  lanes?: number;
  /** Once for an instance, before everything else. */
  open?: Do<C, May<O>, unknown>;
  close?: Do<C, May<void>, Own<O>>;
  /** What only a look outside can find wrong with a configuration. */
  check?: Do<C, May<readonly Problem[]>, unknown>;
}

/** Things made once, such as a slot or a table, before `open`. Idempotent; the answer is committed before the first read. */
export interface MadeOnce<C extends TObject> {
  onCreated?: Do<C, May<Json>, unknown>;
  onUpdated?: On<Json, C, May<Json>, { readonly before: Record<string, Json> }>;
  onDeleted?: On<Json, C, May<void>, unknown>;
}

/** A source. */
export interface SourceSpec<C extends TObject, P, O> extends Head<C, O>, MadeOnce<C> {
  /** Where reading begins. With it the source is resumable, and its type is that of positions. */
  start?: P | Do<C, May<P>, unknown>;
  /** The columns of its rows; without, reading tells. */
  rows?: TObject;
  plan?: Do<C, May<Schema | Record<string, Schema> | null>, unknown>;
  replay?: "position" | "redelivery" | "none";
  /** Redelivery: the same rows get the same ids. */
  stableIds?: boolean;
  ackGated?: boolean;
  acknowledgeWithin?: number;
  maxInFlight?: number;
  effects?: "none" | "reads" | "writes";
  deterministic?: boolean;
  discover?: Do<C, May<readonly Stream[]>, unknown>;
  /** What is to be read: splits, or rounds of `[splits, discovery position]`. Without it, one split named `all`. */
  splits?: On<
    Json,
    C,
    May<readonly Split[]> | Gen<readonly [readonly Split[], Json]>,
    Own<O> & { readonly finished: ReadonlySet<string> }
  >;
  /** The rows after `position`. `[rows, position]`: where to resume after them. */
  read: On<
    P,
    C,
    Gen<Given<P>>,
    Own<O> & {
      readonly split: Split;
      readonly demand: Demand;
      /** The columns that anybody reads; null: all. */
      readonly columns: ReadonlySet<string> | null;
    }
  >;
  /** After the commit point: everything up to `position` is done. Repeated after a restart. */
  acknowledge?: On<P, C, May<void>, Own<O> & { readonly split: Split }>;
  /** Hand the rest of a split to others. */
  divide?: On<P, C, May<readonly Split[]>, Own<O> & { readonly split: Split }>;
  /** An older version's position in today's form. */
  migratePosition?: On<Json, C, P, { readonly version: number }>;
}

/** What a source yields. */
export type Given<P> = Rows | Out | readonly [Rows | Out, P | null] | Idle<P> | Idle<undefined> | Unreadable;

/** What a processor gives: rows for its main output, a batch without the rows it refused, or `out(name, rows)`. */
export type Made = Rows | Batch<object> | Out;

/** The state of a key, as a row-wise function changes it in place; and all states, as others get and put them. */
export interface States<S extends TObject, N extends Record<string, TSchema>> {
  readonly states: { readonly [name in keyof N]: KeyState<Static<N[name]>> } & { readonly state: KeyState<Static<S>> };
}

/** A processor: `process` for whole batches, or `each` for single rows. */
export interface ProcessorSpec<
  C extends TObject,
  I extends TObject,
  S extends TObject,
  N extends Record<string, TSchema>,
  O,
> extends Head<C, O> {
  /** The columns it needs, with their types: the type of its rows. An input without them is refused. */
  input?: I;
  /** The columns it adds or changes; `t.Object({})`: none. Without it and without `plan`, the rows tell. */
  adds?: TObject;
  plan?: On<Schema, C, May<Schema | Record<string, Schema> | null>, { readonly schemas: ReadonlyMap<string, Schema> }>;
  /** The field of the configuration (`t.Columns()`) with the key columns. */
  by?: keyof Static<C> & string;
  /** What `each` remembers of a key: `ctx.state`. */
  state?: S;
  /** States by name for the other functions: `ctx.states.NAME`. */
  states?: N;
  ttl?: StateOptions["ttl"];
  /** Outputs besides the main one. */
  outputs?: readonly string[];
  /** Names of its inputs, where it has several. */
  inputs?: readonly string[];
  cardinality?: "one" | "filter" | "any";
  deterministic?: boolean;
  effects?: "none" | "reads" | "writes";
  reads?: readonly string[];
  writes?: readonly string[];
  clears?: readonly string[];
  process?: On<Batch<Static<I> & Row>, C, May<Made | readonly Out[] | null> | Gen<Made>, Own<O> & States<S, N>>;
  each?: On<
    Static<I> & Row,
    C,
    May<object | readonly object[] | Refusal | Out | null | undefined>,
    Own<O> & States<S, N> & { readonly state: Static<S>; readonly epoch: number }
  >;
  /** Timers are due: a batch of their keys. */
  timer?: On<Batch, C, Result, Own<O> & States<S, N> & { readonly time: Date }>;
  /** Event time has come to here. */
  watermark?: On<Date, C, Result, Own<O> & States<S, N>>;
  /** The input has ended. */
  finish?: Do<C, Result, Own<O> & States<S, N>>;
  /** An older version's value of a state in today's form. */
  migrateState?: On<Json, C, Json, { readonly version: number; readonly state: string }>;
  /** What states do not hold. */
  snapshot?: Do<C, May<Uint8Array | string>, Own<O>>;
  restore?: On<Uint8Array, C, May<void>, Own<O> & { readonly version: number }>;
}

/** What the calls of a processor without input rows give. */
export type Result = May<Made | readonly Out[] | null> | Gen<Made>;

/** What a sink promises: nothing, one row a key, rows published by `commit`, or one transaction of the target. */
export type Ability = "append" | "idempotent" | "staged" | "transactional";

/** A sink. The tokens of `prepare` are all that `commit` knows: it may run in another instance, and more than once. */
export interface SinkSpec<C extends TObject, I extends TObject, T, O> extends Head<C, O>, MadeOnce<C> {
  ability?: Ability;
  /** How a replaced run is kept out. */
  fencing?: "target" | "names" | "lock" | "none";
  commits?: "step" | "lane";
  shared?: "process" | "host" | "files" | "network";
  clears?: readonly string[];
  /** The columns it needs, with their types: the type of its rows. An input without them is refused. */
  input?: I;
  discover?: Do<C, May<readonly Stream[]>, unknown>;
  /** Look at the columns: throw ConfigError for those that cannot be written. */
  plan?: On<Schema, C, May<void>, unknown>;
  begin?: On<number, C, May<void>, Own<O>>;
  write: On<Batch<Static<I> & Row>, C, May<void>, Own<O>>;
  /** Make the epoch's rows durable, still invisible. */
  prepare?: On<number, C, May<T>, Own<O> & { readonly last: boolean }>;
  commit?: On<readonly T[], C, May<void>, Own<O>>;
  abort?: On<readonly T[], C, May<void>, Own<O>>;
  /** The epoch that the target itself holds. */
  recover?: Do<C, May<number | null>, Own<O>>;
  /** What is in the target, for tests and audits. */
  readback?: On<string, C, May<Rows> | Gen<Rows>, Own<O>>;
  snapshot?: Do<C, May<Uint8Array | string>, Own<O>>;
  restore?: On<Uint8Array, C, May<void>, Own<O> & { readonly version: number }>;
}

/** A tool: its input is the caller's, its configuration the operator's. */
export interface ToolSpec<I extends TObject, C extends TObject, O> extends Head<C, O> {
  input: I;
  effects?: "none" | "reads" | "writes";
  /** The answer; a generator's last value is the answer, those before it tell its progress. */
  call: On<Static<I>, C, unknown, Own<O>>;
}

/** The kinds of components. */
export type Kind = "source" | "processor" | "sink" | "tool";

/** A declared component: export it. */
export class Component {
  readonly kind: Kind;
  readonly spec: Spec;

  constructor(kind: Kind, spec: object) {
    this.kind = kind;
    this.spec = spec as Spec;
  }
}

type Call = (...given: unknown[]) => unknown;

/** A declaration as the SDK reads it: all kinds in one, functions without their authors' types. */
export interface Spec extends Partial<Record<Operation, Call>> {
  doc: string;
  config?: TObject;
  name?: string;
  aliases?: readonly string[];
  deprecated?: string;
  version?: number;
  lanes?: number;
  start?: unknown;
  rows?: TObject;
  input?: TObject;
  adds?: TObject;
  by?: string;
  state?: TObject;
  states?: Record<string, TSchema>;
  ttl?: number | string;
  outputs?: readonly string[];
  each?: Call;
  [ability: string]: unknown;
}

/** The functions that an author may write. */
export type Operation =
  | ("open" | "close" | "check" | "discover" | "plan")
  | ("splits" | "read" | "divide" | "acknowledge" | "migratePosition")
  | ("process" | "timer" | "watermark" | "finish" | "migrateState" | "snapshot" | "restore")
  | ("begin" | "write" | "prepare" | "commit" | "abort" | "recover" | "readback")
  | ("onCreated" | "onUpdated" | "onDeleted" | "call");

/** Declare a source. */
export function source<const C extends TObject = NoFields, P = undefined, O = undefined>(
  spec: SourceSpec<C, P, O>,
): Component {
  return new Component("source", spec);
}

/** Declare a processor. */
export function processor<
  const C extends TObject = NoFields,
  const I extends TObject = NoFields,
  const S extends TObject = NoFields,
  const N extends Record<string, TSchema> = NoStates,
  O = undefined,
>(spec: ProcessorSpec<C, I, S, N, O>): Component {
  return new Component("processor", spec);
}

/** Declare a sink. */
export function sink<const C extends TObject = NoFields, const I extends TObject = NoFields, T = Json, O = undefined>(
  spec: SinkSpec<C, I, T, O>,
): Component {
  return new Component("sink", spec);
}

/** Declare a tool. */
export function tool<const I extends TObject, const C extends TObject = NoFields, O = undefined>(
  spec: ToolSpec<I, C, O>,
): Component {
  return new Component("tool", spec);
}
