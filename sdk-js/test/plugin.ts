/** The components that `tests/vectors/guest.json` calls; every SDK's tests have the same ones in their language. */

import { idle, out, processor, Reject, Retry, Schema, sink, source, t, tool, unreadable } from "@dataflare/sdk";

export const numbers = source({
  doc: "Whole numbers from zero, one split a part.",
  config: t.Object({
    parts: t.Integer({ default: 1 }),
    count: t.Integer({ default: 5 }),
    size: t.Integer({ default: 2 }),
  }),
  start: 0,
  splits: (_position, { parts }) => Array.from({ length: parts }, (_, part) => ({ id: `part-${part}`, data: part })),
  *read(position, { count, size }, { split }) {
    for (let start = position; start < count; start += size) {
      const end = Math.min(start + size, count);
      const rows = Array.from({ length: end - start }, (_, index) => ({ part: split.data, n: start + index }));
      yield [rows, end];
    }
    yield idle(1.5, count);
  },
});

const N = t.Object({ n: t.Integer() });

export const times = processor({
  doc: "Multiplies `n`; a negative one is rejected, 13 refuses the batch, 99 asks to be called again, 77 fails.",
  config: t.Object({ by: t.Integer({ default: 2 }) }),
  input: N,
  adds: t.Object({}),
  cardinality: "one",
  process(batch, { by }) {
    if (batch.rows.some(({ n }) => n === 13)) {
      throw new Reject("unlucky", "13 is in it");
    }
    if (batch.rows.some(({ n }) => n === 99)) {
      throw new Retry(2.5, "not now");
    }
    if (batch.rows.some(({ n }) => n === 77)) {
      throw new Error("77 is in it");
    }
    return batch.reject(({ n }) => n < 0, "negative", "`n` is negative").map((row) => ({ ...row, n: row.n * by }));
  },
});

export const parity = processor({
  doc: "Even numbers to the main output, odd ones to `odd`.",
  input: N,
  adds: t.Object({}),
  outputs: ["odd"],
  *process({ rows }) {
    yield rows.filter(({ n }) => n % 2 === 0);
    yield out(
      "odd",
      rows.filter(({ n }) => n % 2 !== 0),
    );
  },
});

export const echo = processor({
  doc: "Gives back every value as the program sees it.",
  process: ({ rows }) => rows,
});

export const shop = source({
  doc: "What a source can do beside reading: what it answers shows what it was asked.",
  start: 0,
  plan: () => {
    const orders = Schema.of(t.Object({ id: t.Nullable(t.Integer()) }));
    return { "": orders, late: orders };
  },
  *read() {
    yield unreadable("garbled", "not a row", new Uint8Array([0, 255]), "line 1");
    yield [out("late", [{ id: 7 }]), 1];
  },
  divide: (position, _config, { split }) => [
    { id: `${split.id}-a`, data: position },
    { id: `${split.id}-b`, after: [`${split.id}-a`] },
  ],
  migratePosition: (old, _config, { version }) => Number(old) * 10 + version,
  onCreated: () => ({ slot: 1 }),
  onUpdated: (made, _config, { before }) => ({ made, before }),
  onDeleted(made) {
    throw new Reject("kept", `${JSON.stringify(made)} stays`);
  },
});

const clock = (time: Date) => time.toISOString().slice(11, 16);

export const alarm = processor({
  doc: "Gives what its timers, the watermark and the end bring.",
  config: t.Object({ key: t.Columns({ default: ["k"] }) }),
  by: "key",
  plan: () => Schema.of(t.Object({ k: t.Nullable(t.String()) })),
  process: () => [],
  timer: ({ rows }, _config, { time }) => rows.map(({ k }) => ({ k: `${String(k)} ${clock(time)}` })),
  watermark: (time) => [{ k: `watermark ${clock(time)}` }],
  finish: () => [{ k: "finish" }],
});

export const totals = processor({
  doc: "A running total of `n` for each key.",
  config: t.Object({ key: t.Columns() }),
  input: N,
  adds: t.Object({ total: t.Integer() }),
  by: "key",
  states: { total: t.Integer() },
  process(batch, { key }, { states }) {
    const column = key[0] ?? "";
    const sums = new Map<unknown, number>();
    states.total.get(batch).forEach((known, index) => sums.set(batch.rows[index]?.[column], known ?? 0));
    const rows = batch.rows.map((row) => {
      const total = (sums.get(row[column]) ?? 0) + row.n;
      sums.set(row[column], total);
      return { ...row, total };
    });
    states.total.put(
      batch,
      rows.map(({ total }) => total),
    );
    return rows;
  },
});

export const ledger = processor({
  doc: "Adds up `n` for each key, and tells at the end; version 1 kept a sum as a number.",
  config: t.Object({ key: t.Columns({ default: ["k"] }) }),
  input: N,
  by: "key",
  version: 2,
  states: { sums: t.Object({ sum: t.Integer() }) },
  plan: () => Schema.of(t.Object({ keys: t.Nullable(t.Integer()), sum: t.Nullable(t.Integer()) })),
  process(batch, _config, { states }) {
    const held = states.sums.get(batch);
    states.sums.put(
      batch,
      batch.rows.map(({ n }, index) => ({ sum: (held[index]?.sum ?? 0) + n })),
    );
    return [];
  },
  finish(_config, { states }) {
    const made = { keys: 0, sum: 0 };
    for (const [, { sum }] of states.sums.scan()) {
      made.keys += 1;
      made.sum += sum;
    }
    return [made];
  },
  migrateState(old, _config, { version, state }) {
    const sum = old as number;
    if (sum < 0) {
      throw new Reject("overdrawn", `version ${version} has ${sum} in \`${state}\``);
    }
    return { sum };
  },
});

export const counter = processor({
  doc: "Numbers the rows; what it has counted is its snapshot.",
  adds: t.Object({ row: t.Integer() }),
  open: () => ({ seen: 0 }),
  process: ({ rows }, _config, { own }) => rows.map((row) => ({ ...row, row: own.seen++ })),
  snapshot: (_config, { own }) => String(own.seen),
  restore(data, _config, { own }) {
    own.seen = Number(new TextDecoder().decode(data));
  },
});

export const shelf = sink({
  doc: "Keeps numbers: staged by epoch, on the shelf once committed.",
  ability: "staged",
  input: N,
  open: () => ({ staged: [] as number[], shelf: new Map<number, number[]>() }),
  begin(_epoch, _config, { own }) {
    own.staged = [];
  },
  write(batch, _config, { own }) {
    own.staged.push(...batch.reject(({ n }) => n < 0, "negative", "`n` is negative").map(({ n }) => n));
  },
  prepare: (_epoch, _config, { own }) => own.staged,
  commit(tokens, _config, { own, epoch }) {
    own.shelf.set(epoch, tokens.flat());
  },
  abort(_tokens, _config, { own }) {
    own.staged = [];
  },
  recover: (_config, { own }) => (own.shelf.size === 0 ? null : Math.max(...own.shelf.keys())),
  *readback(_stream, _config, { own }) {
    for (const epoch of [...own.shelf.keys()].sort((a, b) => a - b)) {
      yield (own.shelf.get(epoch) ?? []).map((n) => ({ n }));
    }
  },
});

export const add = tool({
  doc: "Adds, and tells how far it is.",
  input: t.Object({ a: t.Integer(), b: t.Integer({ default: 1 }) }),
  config: t.Object({ note: t.String({ default: "sum" }) }),
  *call({ a, b }, { note }) {
    yield { done: 1 };
    yield { [note]: a + b };
  },
});
