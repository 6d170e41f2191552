/** The operations of a processor. */

import type { Answer } from "./answers.js";
import type { Context } from "./context.js";
import { ConfigError, Reject } from "./errors.js";
import { partAt, textOf, word, type Frame, type Header } from "./frames.js";
import type { Instance } from "./instance.js";
import { outputOf, rowsIn, type Row, type Rows } from "./rows.js";
import type { Schema } from "./schema.js";
import { isGenerator, isThenable, Items, type Steps } from "./steps.js";
import { toBytes } from "./text.js";
import { Batch, Out, Refusal } from "./values.js";

/** Rows of an output. */
interface Output {
  name: string;
  rows: Rows;
}

/** One batch. */
export function* process(instance: Instance, frame: Frame): Steps<Answer> {
  const batch = batchIn(instance, frame, textOf(frame.header.input));
  if (instance.spec.each !== undefined) {
    return answer(instance, yield* byRow(instance, batch), batch);
  }
  return answer(instance, yield* outputsIn(yield* instance.call("process", [batch])), batch);
}

/** Timers of keys are due. */
export function* timer(instance: Instance, frame: Frame): Steps<Answer> {
  instance.moment(frame.header);
  const keys = new Batch(rowsIn(partAt(frame, frame.header.part), instance.reading), undefined, "", "");
  const time = new Date(String(word(frame.header, "time")));
  return answer(instance, yield* outputsIn(yield* instance.call("timer", [keys], { time })), keys);
}

/** Event time has moved. */
export function* watermark(instance: Instance, { header }: Frame): Steps<Answer> {
  instance.moment(header);
  return answer(
    instance,
    yield* outputsIn(yield* instance.call("watermark", [new Date(String(word(header, "time")))])),
  );
}

/** The input has ended. */
export function* finish(instance: Instance, { header }: Frame): Steps<Answer> {
  instance.moment(header);
  return answer(instance, yield* outputsIn(yield* instance.call("finish")));
}

/** What states do not hold. */
export function* snapshot(instance: Instance): Steps<Answer> {
  const held = (yield* instance.call("snapshot")) as Uint8Array | string | undefined;
  return held === undefined ? [{}] : [{ part: 0 }, [typeof held === "string" ? toBytes(held) : held]];
}

/** Go on from a snapshot. */
export function* restore(instance: Instance, frame: Frame): Steps<Answer> {
  const version = Number(frame.header.version ?? 1);
  yield* instance.call("restore", [partAt(frame, frame.header.part)], { version });
  return [{}];
}

/** The batch in a frame, and the moment it is processed in. */
export function batchIn(instance: Instance, frame: Frame, input: string): Batch {
  const { header } = frame;
  instance.moment(header);
  const rows = rowsIn(partAt(frame, header.part), instance.reading);
  return new Batch(rows, instance.inputs.get(input), input, textOf(header.stream));
}

/** Rejects as a header has them; their row numbers become parts. */
export function rejectsOf(batch: Batch | undefined, parts: Uint8Array[]): Header[] {
  const rows = new Map<string, { refusal: Refusal; numbers: number[] }>();
  for (const [number, refusal] of batch?.refused ?? []) {
    const reason = JSON.stringify([refusal.code, refusal.message]);
    const known = rows.get(reason) ?? { refusal, numbers: [] };
    known.numbers.push(number);
    rows.set(reason, known);
  }
  return [...rows.values()].map(({ refusal, numbers }) => {
    parts.push(new Uint8Array(Uint32Array.from(numbers.sort((a, b) => a - b)).buffer));
    return { code: refusal.code, message: refusal.message, part: parts.length - 1 };
  });
}

function answer(instance: Instance, outputs: Output[], batch?: Batch): Answer {
  const parts: Uint8Array[] = [];
  const told = outputs.map(({ name, rows }) => {
    const schema = instance.outputs.get(name);
    checkColumns(rows, schema);
    return outputOf(name, rows, schema, parts);
  });
  return [{ outputs: told, rejects: rejectsOf(batch, parts) }, parts];
}

/** The outputs in what an author gave: rows, `out(...)`, a list or a generator of them. */
function* outputsIn(given: unknown): Steps<Output[]> {
  const items = isGenerator(given) ? yield* new Items(given).all() : isSeveral(given) ? given : [given];
  return items.flatMap((item) => {
    if (item === null || item === undefined) {
      return [];
    }
    if (item instanceof Out) {
      return [{ name: item.name, rows: item.rows }];
    }
    if (item instanceof Batch) {
      return [{ name: "out", rows: item.rows.filter((_row, index) => !item.refused.has(index)) }];
    }
    if (!Array.isArray(item)) {
      throw notRows(item);
    }
    return [{ name: "out", rows: item as Rows }];
  });
}

function isSeveral(given: unknown): given is Out[] {
  return Array.isArray(given) && given[0] instanceof Out;
}

/** Call the author's function for each row. */
function* byRow(instance: Instance, batch: Batch): Steps<Output[]> {
  const { spec, config } = instance;
  const each = spec.each as (row: Row, config: unknown, context: unknown) => unknown;
  const held = heldStates(instance, batch.rows);
  const context: Context & { state?: unknown } = instance.context;
  const gathered = new Gathered(batch);
  const { rows } = batch;
  const { main } = gathered;
  for (let index = 0; index < rows.length; index += 1) {
    if (held !== null) {
      context.state = held.of(index);
    }
    try {
      const given = each.call(spec, rows[index] as Row, config, context);
      // Nearly all rows take the first way, so it does as little as can be.
      if (typeof given === "object" && given?.constructor === Object) {
        main.push(given);
      } else {
        gathered.take(isThenable(given) ? yield given : given, index);
      }
    } catch (error) {
      if (!(error instanceof Reject)) {
        throw error;
      }
      batch.rejectAt(index, new Refusal(error.code, error.message));
    }
  }
  held?.keep();
  return gathered.outputs();
}

/** What the rows of a batch gave. */
class Gathered {
  readonly #batch: Batch;
  /** Of the main output. */
  readonly main: object[] = [];
  readonly #named = new Map<string, object[]>();

  constructor(batch: Batch) {
    this.#batch = batch;
  }

  take(given: unknown, index: number): void {
    if (given === null || given === undefined) {
      return;
    }
    if (typeof given !== "object") {
      throw notRows(given);
    }
    if (given instanceof Refusal) {
      this.#batch.rejectAt(index, given);
    } else if (given instanceof Out) {
      const rows = this.#named.get(given.name) ?? [];
      rows.push(...given.rows);
      this.#named.set(given.name, rows);
    } else if (Array.isArray(given)) {
      for (const item of given) {
        this.take(item, index);
      }
    } else {
      this.main.push(given);
    }
  }

  outputs(): Output[] {
    const main = this.main.length === 0 ? [] : [{ name: "out", rows: this.main }];
    return [...main, ...[...this.#named].map(([name, rows]) => ({ name, rows }))];
  }
}

/** The states of the keys in a batch: asked for once, given back once. Null for a processor without. */
function heldStates(instance: Instance, rows: Row[]): { of(index: number): unknown; keep(): void } | null {
  const state = instance.spec.state === undefined ? undefined : instance.states.get("state");
  if (state === undefined || rows.length === 0) {
    return null;
  }
  const keys = instance.keys.of(rows);
  const distinct = [...new Set(keys)];
  const values = state.of(distinct);
  const held = new Map(distinct.map((key, at) => [key, values[at] ?? state.blank()]));
  return {
    of: (index) => held.get(keys[index] ?? ""),
    keep: () => {
      state.keep(distinct, [...held.values()]);
    },
  };
}

/** A column that was not planned would be lost on the way: say so, looking at the first row. */
function checkColumns(rows: Rows, schema: Schema | undefined): void {
  const [first] = rows;
  if (schema === undefined || schema.open || first === undefined) {
    return;
  }
  const known = new Set(schema.names);
  const strange = Object.keys(first).find((name) => !known.has(name));
  if (strange !== undefined) {
    const cause = `the planned columns are ${schema.names.map((name) => `\`${name}\``).join(", ")}`;
    throw new ConfigError("step.unknown_column", `the column \`${strange}\` was not planned`, {
      cause,
      fix: `say it in \`adds\`: \`adds: t.Object({ ${strange}: ... })\``,
    });
  }
}

function notRows(given: unknown): ConfigError {
  const cause = `it is ${typeof given}`;
  return new ConfigError("step.rows", "a processor gives rows, out(name, rows) or a list of these", { cause });
}
