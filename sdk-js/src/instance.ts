/** One component with its configuration: what its author's functions are called with. */

import { checked } from "./check.js";
import type { Component, Operation, Spec } from "./component.js";
import { surroundings, withMore, type Context } from "./context.js";
import { stateNames } from "./describe.js";
import { ConfigError, DataflareError } from "./errors.js";
import type { Header } from "./frames.js";
import type { Host } from "./host.js";
import { Keys } from "./keys.js";
import { readingOf, type Reading } from "./rows.js";
import { needColumns, Schema } from "./schema.js";
import { HostState } from "./state.js";
import { settled, type Items, type Steps } from "./steps.js";
import { t } from "./t.js";
import type { Demand, Split } from "./values.js";

/** A reading of a split that is under way. */
export interface Reader {
  items: Items<unknown>;
  demand: Demand;
}

/** A component of a plugin, configured; open after `open`. */
export class Instance {
  readonly component: Component;
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly context: Context;
  /** What the host says of the call in hand: epoch, clock, seed. */
  readonly moment: (header: Header) => void;
  readonly states = new Map<string, HostState>();
  readonly reading: Reading | null;
  readonly readers = new Map<string, Reader>();
  rounds: Items<readonly [readonly Split[], unknown]> | null = null;
  inputs = new Map<string, Schema>();
  outputs = new Map<string, Schema>();
  #keys: Keys | null = null;

  /** Throws ConfigError for a configuration that does not fit. */
  constructor(component: Component, name: string, header: Header, host: Host) {
    const { spec } = component;
    this.component = component;
    this.name = name;
    this.config = checked(spec.config ?? t.Object({}), header.config);
    const [context, resume] = [header.context ?? {}, header.resume ?? {}] as [Header, Header];
    const found = surroundings(host, context, resume, () => this.keyColumns);
    this.context = found.context;
    this.moment = found.moment;
    this.reading = component.kind === "tool" ? null : readingOf(spec.input);
    for (const state of stateNames(spec)) {
      const schema = spec.states?.[state] ?? spec.state ?? t.Unknown();
      const kept = { name: state, schema, ttl: this.#ttl() };
      this.states.set(state, new HostState(host, () => this.keys, kept));
    }
    Object.assign(this.context, { own: undefined, states: Object.fromEntries(this.states) });
  }

  get spec(): Spec {
    return this.component.spec;
  }

  /** Whether the author wrote this function. */
  has(operation: Operation): boolean {
    return this.spec[operation] !== undefined;
  }

  /** Call a function of the author, and wait for what it promises. Generators are given as they are. */
  *call(operation: Operation, data: readonly unknown[] = [], more: object | null = null): Steps<unknown> {
    const written = this.spec[operation];
    const context = more === null ? this.context : withMore(this.context, more);
    return written === undefined ? undefined : yield* settled(written.call(this.spec, ...data, this.config, context));
  }

  /** Call `open`; what it returns is `ctx.own`. */
  *open(): Steps<void> {
    Object.assign(this.context, { own: yield* this.call("open") });
  }

  /** End what is being read, and call `close`. */
  *close(opened = true): Steps<void> {
    try {
      for (const reader of this.readers.values()) {
        yield* reader.items.end();
      }
      if (opened) {
        yield* this.call("close");
      }
    } catch (error) {
      this.context.log.error(`\`close\` of ${this.name} failed: ${String(error)}`);
    }
  }

  /** What `plan` gives for these inputs: output (of a source: stream) → schema; null where only rows tell. */
  *plan(inputs: Map<string, Schema>): Steps<Map<string, Schema> | null> {
    this.inputs = inputs;
    this.#keys = null;
    const planned = this.component.kind === "source" ? yield* this.#streams() : yield* this.#outputs(inputs);
    this.outputs = planned ?? new Map<string, Schema>();
    return planned;
  }

  /** The key columns that the configuration names. */
  get keyColumns(): readonly string[] {
    const named = this.config[this.spec.by ?? ""];
    if (named === undefined) {
      throw new ConfigError("step.by", `\`${this.name}\` has no key: say \`by\`, the field with the key columns`);
    }
    return typeof named === "string" ? [named] : (named as string[]);
  }

  /** The keys of rows. */
  get keys(): Keys {
    this.#keys ??= new Keys(this.keyColumns, this.inputs.get("") ?? this.inputs.values().next().value);
    return this.#keys;
  }

  /** The refusal of an operation that this kind of component has not. */
  notIts(): DataflareError {
    return new ConfigError("guest.operation", `\`${this.name}\` is a ${this.component.kind}: it has no such operation`);
  }

  *#streams(): Steps<Map<string, Schema> | null> {
    const told = (yield* this.call("plan")) ?? this.spec.rows;
    return told === undefined ? null : named(told, "");
  }

  *#outputs(inputs: Map<string, Schema>): Steps<Map<string, Schema> | null> {
    const { input, adds, each, outputs = [] } = this.spec;
    const main = inputs.get("") ?? inputs.values().next().value ?? new Schema([], true);
    if (input !== undefined) {
      needColumns(input, main);
    }
    const told = yield* this.call("plan", [main], { schemas: inputs });
    if (told !== null && told !== undefined) {
      return named(told, "out");
    }
    if (this.component.kind === "sink" || (adds === undefined && each === undefined)) {
      return null;
    }
    const schema = adds === undefined ? main : main.with(adds);
    return new Map(["out", ...outputs].map((name) => [name, schema]));
  }

  #ttl(): number | null {
    const { ttl } = this.spec;
    const told = typeof ttl === "string" ? this.config[ttl] : ttl;
    return told === undefined || told === null ? null : Number(told);
  }
}

function named(told: unknown, main: string): Map<string, Schema> {
  if (told instanceof Schema) {
    return new Map([[main, told]]);
  }
  if (typeof (told as { type?: unknown }).type === "string") {
    return new Map([[main, Schema.of(told as Parameters<typeof Schema.of>[0])]]);
  }
  return new Map(Object.entries(told as Record<string, Schema>));
}
