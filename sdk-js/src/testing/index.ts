/**
 * Components under test: run as a host runs them, over the same frames, with everything in memory.
 *
 * `process`, `read`, `write` and `call` are for one thing; a `Bench` keeps a component open.
 */

import type { Component } from "../component.js";
import type { Row, Rows } from "../rows.js";
import type { Json, Split } from "../values.js";
import { Bench, type BenchOptions, type Processed, type Rejected } from "./bench.js";

export { Bench, type BenchOptions, type Processed, type Rejected, type Step } from "./bench.js";
export { MemoryHost, type HostOptions, type HttpAnswer, type HttpRequest, type Timer } from "./memory.js";

/** What a processor makes of a batch; `finish` is called after it. */
export async function process(processor: Component, rows: Rows, options: BenchOptions = {}): Promise<Processed> {
  const bench = new Bench(processor, options);
  const made = await bench.feed(rows);
  const last = await bench.finish();
  await bench.close();
  return { ...made, rows: [...made.rows, ...last.rows], outputs: { ...made.outputs, ...last.outputs } };
}

/** All rows that a source gives, with the positions between them. */
export async function read(
  source: Component,
  options: BenchOptions & { split?: Split; position?: Json } = {},
): Promise<{ rows: Row[]; positions: Json[]; unreadable: { code: string; message: string; place: Json }[] }> {
  const bench = new Bench(source, options);
  const steps = [];
  for (const split of options.split === undefined ? await bench.splits() : [options.split]) {
    steps.push(...(await bench.read(split, options.position)));
  }
  await bench.close();
  return {
    rows: steps.flatMap((step) => step.rows),
    positions: steps.flatMap((step) => (step.position === undefined ? [] : [step.position])),
    unreadable: steps.flatMap((step) => step.unreadable),
  };
}

/** Write one epoch and commit it: the rows that were refused, and the token. */
export async function write(
  sink: Component,
  rows: Rows,
  options: BenchOptions = {},
): Promise<{ token: Json; rejects: Rejected[] }> {
  const bench = new Bench(sink, options);
  const prepared = await bench.prepare(1, rows, true);
  await bench.commit(1, prepared.token);
  await bench.close();
  return prepared;
}

/** The answer of a tool. */
export async function call(
  tool: Component,
  input: Record<string, unknown>,
  options: BenchOptions = {},
): Promise<unknown> {
  return new Bench(tool, options).call(input);
}
