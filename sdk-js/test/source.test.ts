/** Sources: positions, splits, streams, what cannot be read, async reading, things made once. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { idle, out, source, t, unreadable, type Json } from "@dataflare/sdk";
import { Bench, read } from "@dataflare/sdk/testing";

const numbers = source({
  doc: "Whole numbers.",
  config: t.Object({ count: t.Integer({ default: 10 }), step: t.Integer({ default: 4 }) }),
  start: 0,
  rows: t.Object({ n: t.Integer() }),
  *read(position, { count, step }) {
    for (let n = position; n < count; n += step) {
      const end = Math.min(n + step, count);
      yield [Array.from({ length: end - n }, (_, index) => ({ n: n + index })), end];
    }
  },
});

test("it is read from any of its positions", async () => {
  assert.deepEqual((await read(numbers)).positions, [4, 8, 10]);
  const whole = (await read(numbers)).rows;
  for (const position of [0, 4, 8, 10]) {
    assert.deepEqual((await read(numbers, { position })).rows, whole.slice(position));
  }
});

test("its columns are announced", async () => {
  const columns = [{ name: "n", type: "int64", nullable: false }];
  assert.deepEqual(await new Bench(numbers).plan(t.Object({})), { "": { columns, open: false } });
  const { abilities, operations } = await new Bench(numbers).describe();
  assert.equal((abilities as { replay: string }).replay, "position");
  assert.deepEqual(operations, ["read"]);
});

test("an async source is awaited", async () => {
  const slow = source({
    doc: "Two rows.",
    async *read() {
      await Promise.resolve();
      yield [{ n: 1 }];
      await Promise.resolve();
      yield [{ n: 2 }];
    },
  });
  assert.deepEqual(await read(slow), { rows: [{ n: 1 }, { n: 2 }], positions: [], unreadable: [] });
});

test("streams, rows without a resume point, idling and what cannot be read", async () => {
  const mixed = source({
    doc: "All of them.",
    start: () => "a",
    *read(position) {
      yield [[{ n: 1, position }], null];
      yield [out("other", [{ m: 2 }]), "b"];
      yield unreadable("lines.broken", "half a line", "abc", { line: 3 });
      yield idle(0, "c");
      yield [];
      yield [[], "d"];
      yield unreadable("lines.broken", "the last line");
    },
  });
  const steps = await new Bench(mixed).read();
  assert.deepEqual(
    steps.map(({ rows, stream, position }) => [rows, stream, position]),
    [
      [[{ n: 1, position: "a" }], "", undefined],
      [[{ m: 2 }], "other", "b"],
      [[], "", "c"],
      [[], "", undefined],
      [[], "", "d"],
      [[], "", undefined],
    ],
  );
  assert.deepEqual(steps[2]?.unreadable, [
    { code: "lines.broken", message: "half a line", place: { line: 3 }, raw: "YWJj" },
  ]);
  assert.equal(steps[5]?.unreadable.length, 1);
});

test("splits come in rounds, and know what is finished and where discovery is", async () => {
  const parts = source({
    doc: "Parts.",
    *splits(position, _config, { finished }) {
      const first = typeof position === "number" ? position : 0;
      for (let part = first; part < first + 3; part += 1) {
        yield [finished.has(`p${part}`) ? [] : [{ id: `p${part}`, data: part, size: 1 }], part + 1];
      }
    },
    *read(_position, _config, { split }) {
      yield [{ part: split.data }];
    },
  });
  const bench = new Bench(parts);
  const ids = (splits: { id: string }[]): string[] => splits.map(({ id }) => id);
  assert.deepEqual(ids(await bench.splits()), ["p0", "p1", "p2"]);
  assert.deepEqual(ids(await bench.splits(1, ["p2"])), ["p1", "p3"]);
  assert.deepEqual((await read(parts)).rows, [{ part: 0 }, { part: 1 }, { part: 2 }]);
  await bench.close();
});

test("two readings do not share what belongs to a split", async () => {
  const parts = source({
    doc: "Parts.",
    splits: () => [{ id: "a" }, { id: "b" }],
    *read(_position, _config, ctx) {
      yield [{ id: ctx.split.id }];
      yield [{ id: ctx.split.id }];
    },
  });
  const bench = new Bench(parts);
  const rows: unknown[] = [];
  for (const id of ["a", "b", "a", "b"]) {
    const { parts: found } = await bench.ask("read", { split: { id } });
    rows.push(...(JSON.parse(new TextDecoder().decode(found[0])) as unknown[]));
  }
  assert.deepEqual(rows, [{ id: "a" }, { id: "b" }, { id: "a" }, { id: "b" }]);
  await bench.close();
});

test("a reading that is stopped or closed ends at its yield", async () => {
  const ended: string[] = [];
  const endless = source({
    doc: "Endless.",
    *read(_position, _config, { split }) {
      try {
        for (;;) {
          yield [{ n: 1 }];
        }
      } finally {
        ended.push(split.id);
      }
    },
    close: () => void ended.push("close"),
  });
  const bench = new Bench(endless);
  await bench.ask("read", { split: { id: "a" } });
  await bench.ask("read", { split: { id: "b" } });
  await bench.ask("read", { split: { id: "a" }, anew: true });
  await bench.ask("stop_reading", { split: "a" });
  await bench.close();
  assert.deepEqual(ended, ["a", "a", "b", "close"]);
});

test("positions are acknowledged, divided and taken over from older versions", async () => {
  const acknowledged: unknown[] = [];
  const queue = source({
    doc: "A queue.",
    version: 2,
    start: { at: 0 },
    *read(position) {
      yield [[{ n: position.at }], { at: position.at + 1 }];
    },
    acknowledge: (position, _config, { split }) => void acknowledged.push([split.id, position.at]),
    divide: (position, _config, { split }) => [
      { id: `${split.id}-1`, start: position },
      { id: `${split.id}-2`, after: [`${split.id}-1`] },
    ],
    migratePosition: (old, _config, { version }) => ({ at: Number(old) + version }),
  });
  const bench = new Bench(queue);
  await bench.ask("acknowledge", { split: { id: "s" }, position: { at: 3 } });
  assert.deepEqual(acknowledged, [["s", 3]]);
  const divided = (await bench.ask("divide", { split: { id: "s" }, position: { at: 3 } })).header.splits;
  assert.deepEqual(divided, [
    { id: "s-1", data: null, start: { at: 3 }, after: [], size: null },
    { id: "s-2", data: null, start: null, after: ["s-1"], size: null },
  ]);
  assert.deepEqual((await bench.ask("migrate_position", { version: 1, old: 7 })).header.position, { at: 8 });
  await bench.close();
});

test("what is made once is made, changed and undone", async () => {
  const done: Json[] = [];
  const slot = source({
    doc: "A slot.",
    config: t.Object({ name: t.String({ default: "s" }) }),
    *read() {
      yield [];
    },
    onCreated: ({ name }) => ({ slot: name }),
    onUpdated: (made, { name }, { before }) => ({ slot: name, was: made, before: before.name ?? null }),
    onDeleted: (made) => void done.push(made),
  });
  const bench = new Bench(slot);
  assert.deepEqual((await bench.ask("on_created")).header.made, { slot: "s" });
  const updated = await bench.ask("on_updated", { made: 1, before: { name: "old" } });
  assert.deepEqual(updated.header.made, { slot: "s", was: 1, before: "old" });
  await bench.ask("on_deleted", { made: 2 });
  assert.deepEqual(done, [2]);
  await bench.close();
});

test("what a source cannot give is refused with what it can", async () => {
  const wrong = source({
    doc: "Wrong.",
    *read() {
      yield 5 as never;
    },
  });
  await assert.rejects(read(wrong), { code: "source.yield" });
  const twice = source({
    doc: "Twice.",
    splits: () => [{ id: "a" }, { id: "a" }],
    *read() {
      yield [];
    },
  });
  await assert.rejects(read(twice), { code: "source.splits" });
});

test("an error ends the reading, and the next begins where it is told", async () => {
  let failing = true;
  const flaky = source({
    doc: "Flaky.",
    start: 0,
    *read(position) {
      yield [[{ n: position }], position + 1];
      if (failing) {
        throw new TypeError("connection lost");
      }
      yield [[{ n: position + 1 }], position + 2];
    },
  });
  const bench = new Bench(flaky);
  await assert.rejects(bench.read(), { code: "step.failed", message: "connection lost" });
  failing = false;
  assert.deepEqual(
    (await bench.read({ id: "all" }, 1)).flatMap(({ rows }) => rows),
    [{ n: 1 }, { n: 2 }],
  );
  await bench.close();
});
