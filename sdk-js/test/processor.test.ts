/** Processors: row by row and by the batch, states, timers, named outputs, rejects, schemas. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { out, processor, reject, Reject, Retry, t, type Context } from "@dataflare/sdk";
import { Bench, process } from "@dataflare/sdk/testing";
import { toBytes, toText } from "../src/text.js";

const net = t.Object({ net: t.Number() });

test("a row becomes one, none, several, one of another output, or a reject", async () => {
  const each = processor({
    doc: "All of them.",
    input: t.Object({ n: t.Integer() }),
    outputs: ["odd"],
    each({ n }) {
      switch (n) {
        case 0:
          return null;
        case 1:
          return out("odd", { n });
        case 2:
          return [{ n }, { n: 20 }, out("odd", [{ n: 21 }])];
        case 3:
          return reject("three", "3 is refused");
        case 4:
          throw new Reject("four");
        default:
          return { n };
      }
    },
  });
  const made = await process(
    each,
    [0, 1, 2, 3, 4, 5].map((n) => ({ n })),
  );
  assert.deepEqual(made.rows, [{ n: 2 }, { n: 20 }, { n: 5 }]);
  assert.deepEqual(made.outputs, { odd: [{ n: 1 }, { n: 21 }] });
  assert.deepEqual(made.rejects, [
    { row: 3, code: "three", message: "3 is refused" },
    { row: 4, code: "four", message: "four" },
  ]);
});

test("async rows keep their order, and may be refused", async () => {
  const slow = processor({
    doc: "Slow.",
    adds: t.Object({ double: t.Integer() }),
    input: t.Object({ n: t.Integer() }),
    async each(row) {
      await Promise.resolve();
      if (row.n === 2) {
        throw new Reject("two");
      }
      return { ...row, double: row.n * 2 };
    },
  });
  const made = await process(slow, [{ n: 1 }, { n: 2 }, { n: 3 }]);
  assert.deepEqual(made.rows, [
    { n: 1, double: 2 },
    { n: 3, double: 6 },
  ]);
  assert.deepEqual(made.rejects, [{ row: 1, code: "two", message: "two" }]);
});

test("columns named like parts of an object are columns", async () => {
  const same = processor({ doc: "Itself.", each: (row) => row });
  const rows = [{ constructor: 1, then: 2, length: 3, toJSON: 4 }];
  assert.deepEqual((await process(same, rows)).rows, rows);
});

test("a batch without its refused rows goes on", async () => {
  const positive = processor({
    doc: "Positive ones.",
    input: net,
    process(batch) {
      batch.reject((row) => row.net < 0, "negative");
      const left = batch.reject((row) => row.net > 100, "large", "too large");
      assert.equal(left.length, 1);
      return batch;
    },
  });
  const made = await process(positive, [{ net: -1 }, { net: 1 }, { net: 101 }, { net: -200 }]);
  assert.deepEqual(made.rows, [{ net: 1 }]);
  assert.deepEqual(
    made.rejects.map(({ row, code }) => [row, code]),
    [
      [0, "negative"],
      [2, "large"],
      [3, "negative"],
    ],
  );
});

test("a list of outputs, an async generator, nothing", async () => {
  const forms = processor({
    doc: "Forms.",
    config: t.Object({ form: t.Choice(["list", "generator", "nothing"]) }),
    outputs: ["b"],
    process: (batch, { form }) =>
      form === "list"
        ? [out("out", batch.rows), out("b", batch.rows)]
        : form === "nothing"
          ? null
          : (async function* () {
              await Promise.resolve();
              yield batch.rows;
              yield out("b", batch.rows);
            })(),
  });
  const rows = [{ n: 1 }];
  for (const form of ["list", "generator"]) {
    const made = await process(forms, rows, { config: { form } });
    assert.deepEqual([made.rows, made.outputs.b], [rows, rows]);
  }
  assert.deepEqual((await process(forms, rows, { config: { form: "nothing" } })).rows, []);
});

const dedupe = processor({
  doc: "The first of each key, numbered.",
  config: t.Object({ key: t.Columns(), ttl: t.Duration({ default: "1h" }) }),
  by: "key",
  ttl: "ttl",
  state: t.Object({ seen: t.Integer() }),
  adds: t.Object({ seen: t.Integer() }),
  each(row, _config, { state }) {
    state.seen += 1;
    return { ...row, seen: state.seen };
  },
});

test("each key has its state, across batches", async () => {
  const bench = new Bench(dedupe, { config: { key: "k" } });
  const seen = async (...keys: string[]): Promise<unknown[]> =>
    (await bench.feed(keys.map((k) => ({ k })))).rows.map((row) => row.seen);
  assert.deepEqual(await seen("a", "b", "a"), [1, 1, 2]);
  assert.deepEqual(await seen("b", "c", "a"), [2, 1, 3]);
  assert.deepEqual(bench.host.state("state"), [{ seen: 3 }, { seen: 2 }, { seen: 1 }]);
  assert.deepEqual((await bench.describe()).states, ["state"]);
  await bench.close();
});

test("what a failed call wrote to its state never happened", async () => {
  const failing = processor({
    doc: "Fails on 13.",
    config: t.Object({ key: t.Columns() }),
    by: "key",
    states: { last: t.Integer() },
    input: t.Object({ n: t.Integer() }),
    process(batch, _config, { states }) {
      const known = states.last.get(batch);
      states.last.put(
        batch,
        batch.rows.map(({ n }) => n),
      );
      if (batch.rows.some(({ n }) => n === 13)) {
        throw new Retry(1);
      }
      return batch.rows.map((row, index) => ({ ...row, last: known[index] }));
    },
  });
  const bench = new Bench(failing, { config: { key: ["k"] } });
  await bench.feed([{ k: "a", n: 1 }]);
  await assert.rejects(bench.feed([{ k: "a", n: 13 }]), { code: "step.retry" });
  assert.deepEqual((await bench.feed([{ k: "a", n: 2 }])).rows, [{ k: "a", n: 2, last: 1 }]);
  await bench.close();
});

test("timers come back with their keys, at their time", async () => {
  const late = processor({
    doc: "Says when a key was quiet for a minute.",
    config: t.Object({ key: t.Columns() }),
    by: "key",
    input: t.Object({ at: t.Date() }),
    process(batch, _config, { timers }) {
      timers.set(
        batch,
        batch.rows.map((row) => new Date(row.at.getTime() + 60_000)),
      );
      return null;
    },
    timer: (keys, _config, { time }) => keys.rows.map((key) => ({ ...key, quiet: time })),
    watermark: (time) => [{ k: "watermark", quiet: time }],
    finish: () => [{ k: "end", quiet: null }],
  });
  const bench = new Bench(late, { config: { key: "k" } });
  const at = (minute: number): Date => new Date(Date.UTC(2026, 0, 1, 0, minute));
  await bench.feed([
    { k: "a", at: at(0) },
    { k: "b", at: at(5) },
    { k: "a", at: at(2) },
  ]);
  const made = await bench.watermark(at(4));
  assert.deepEqual(made.rows, [
    { k: "a", quiet: "2026-01-01T00:01:00.000Z" },
    { k: "a", quiet: "2026-01-01T00:03:00.000Z" },
    { k: "watermark", quiet: "2026-01-01T00:04:00.000Z" },
  ]);
  assert.deepEqual((await bench.finish()).rows, [{ k: "end", quiet: null }]);
  await bench.close();
});

test("its columns are planned, and an input without what it needs is refused", async () => {
  const gross = processor({
    doc: "Adds `gross`.",
    input: net,
    adds: t.Object({ gross: t.Number(), at: t.Date(), tags: t.Array(t.String()), raw: t.Optional(t.Uint8Array()) }),
    each: (row) => ({ ...row, gross: row.net, at: new Date(0), tags: [] }),
  });
  const planned = await new Bench(gross).plan(t.Object({ net: t.Number(), id: t.Nullable(t.String()) }));
  assert.deepEqual(planned?.out?.columns, [
    { name: "net", type: "double", nullable: false },
    { name: "id", type: "string", nullable: true },
    { name: "gross", type: "double", nullable: false },
    { name: "at", type: "timestamp[us, tz=UTC]", nullable: false },
    { name: "tags", type: "list<item: string>", nullable: false },
    { name: "raw", type: "binary", nullable: true },
  ]);
  await assert.rejects(new Bench(gross).plan(t.Object({ x: t.Number() })), { code: "plan.column" });
});

test("a column that was not planned is refused, not lost", async () => {
  const sloppy = processor({ doc: "Forgets to say it.", each: (row) => ({ ...row, more: 1 }) });
  await assert.rejects(process(sloppy, [{ n: 1 }]), { code: "step.unknown_column" });
});

test("a plan of its own, with another schema for each output", async () => {
  const split = processor({
    doc: "Splits.",
    outputs: ["ids"],
    plan: (schema) => ({ out: schema.without("id"), ids: schema.select("id") }),
    process: ({ rows }) => [
      out(
        "ids",
        rows.map(({ id }) => ({ id })),
      ),
    ],
  });
  const planned = await new Bench(split).plan(t.Object({ id: t.Integer(), n: t.Integer() }));
  assert.deepEqual(
    Object.entries(planned ?? {}).map(([name, { columns }]) => [name, columns.length]),
    [
      ["out", 1],
      ["ids", 1],
    ],
  );
});

test("the same batch has the same clock and random numbers", async () => {
  const dice = processor({
    doc: "Dice.",
    process: ({ rows }, _config, ctx) =>
      rows.map((row) => ({ ...row, die: ctx.random(), at: ctx.clock.now().toISOString() })),
  });
  const bench = new Bench(dice);
  const moment = { seed: "42", clock: new Date("2026-01-31T12:00:00Z") };
  const [first, again] = [
    await bench.feed([{ n: 1 }, { n: 2 }], moment),
    await bench.feed([{ n: 1 }, { n: 2 }], moment),
  ];
  assert.deepEqual(first, again);
  assert.equal(first.rows[0]?.at, "2026-01-31T12:00:00.000Z");
  const [one, two, other] = [...first.rows, ...(await bench.feed([{ n: 1 }], { seed: "43" })).rows].map(
    ({ die }) => die,
  );
  assert.equal(new Set([one, two, other]).size, 3);
  await bench.close();
});

test("what it asks of the host", async () => {
  const seen: unknown[] = [];
  const asks = processor({
    doc: "Asks.",
    process({ rows }, _config, ctx) {
      ctx.log.info("hello");
      ctx.metrics.count("rows", rows.length);
      ctx.metrics.count("rows");
      ctx.metrics.gauge("level", 3);
      ctx.progress(1, 2, "half");
      ctx.requestCheckpoint();
      ctx.limit("api", "10/s");
      seen.push(ctx.secrets.get("token"), ctx.cancelled, ctx.name(), ctx.resume.epoch);
      const answer = ctx.http.post("https://api.example/x", { n: 1 }, { headers: { "X-Y": "z" } });
      seen.push(answer.status, answer.ok, answer.headers["content-type"], answer.json());
      const line = ctx.input("gps");
      seen.push(new TextDecoder().decode(line.receive(10, 1) ?? undefined), line.receive(10, 1));
      return rows;
    },
  });
  const bench = new Bench(asks, {
    secrets: { token: "t" },
    inputs: { gps: ["$GPGGA"] },
    http: ({ method, url, headers, body }) => ({
      status: 201,
      headers: { "Content-Type": "application/json" },
      body: { method, url, headers, body },
    }),
    context: { flow: "f", step: "s", lane: 1, epoch: 4, fence: 2, incarnation: "0123456789" },
    resume: { epoch: 3 },
  });
  await bench.feed([{ n: 1 }]);
  const { logs, metrics, progress, checkpoints } = bench.host;
  assert.deepEqual([logs, metrics, checkpoints], [["info: hello"], { rows: 2, level: 3 }, 1]);
  assert.deepEqual([progress[0]?.done, progress[0]?.total, progress[0]?.note], [1, 2, "half"]);
  const headers = { "content-type": "application/json", "X-Y": "z" };
  const sent = { method: "POST", url: "https://api.example/x", headers, body: '{"n":1}' };
  assert.deepEqual(seen, ["t", false, "01234567-f-s-1-4-2", 3, 201, true, "application/json", sent, "$GPGGA", null]);
  await bench.close();
});

test("what is not granted is refused with the host's words", async () => {
  const ask = (from: (ctx: Context) => unknown): Promise<unknown> =>
    process(processor({ doc: "Asks.", process: (_batch, _config, ctx) => [{ x: from(ctx) }] }), [{ n: 1 }]);
  await assert.rejects(
    ask((ctx) => ctx.secrets.get("x")),
    { code: "permission.denied" },
  );
  await assert.rejects(
    ask((ctx) => ctx.http.get("https://x.example")),
    { code: "permission.denied" },
  );
});

test("an error tells its name, message and stack", async () => {
  const broken = processor({
    doc: "Broken.",
    each(row) {
      return (row.missing as { deep: unknown }).deep as object;
    },
  });
  const error = (await process(broken, [{ n: 1 }]).catch((reason: unknown) => reason)) as {
    problems: { code: string; cause: string; details: { stack: string } }[];
  };
  assert.equal(error.problems[0]?.code, "step.failed");
  assert.equal(error.problems[0].cause, "TypeError");
  assert.match(error.problems[0].details.stack, /each/);
});

test("a state of an older version is taken over", async () => {
  const newer = processor({
    doc: "Newer.",
    version: 2,
    each: (row) => row,
    migrateState: (old, _config, { version, state }) => ({ [state]: [old, version] }),
  });
  const bench = new Bench(newer);
  const { header } = await bench.ask("migrate_state", { version: 1, name: "seen", old: 5 });
  assert.deepEqual(header.value, { seen: [5, 1] });
  const many = await bench.ask("migrate_state", { version: 1, name: "seen", part: 0 }, [toBytes("[5,null]")]);
  assert.deepEqual(JSON.parse(toText(many.parts[0] ?? new Uint8Array())), [{ seen: [5, 1] }, { seen: [null, 1] }]);
  await bench.close();
});

test("keys are asked for in parts that fit into a header, and not at all where there are none", async () => {
  const counted = processor({
    doc: "Counts.",
    config: t.Object({ key: t.Columns() }),
    by: "key",
    state: t.Object({ n: t.Integer() }),
    states: { last: t.String() },
    plan: (schema) => schema,
    process: (batch, _config, { states, timers }) => {
      const known = states.last.get(batch);
      states.last.put(
        batch,
        batch.rows.map(({ k }) => String(k)),
      );
      timers.set(batch, new Date(0));
      timers.drop([]);
      return batch.rows.map((row, index) => ({ ...row, known: known[index] ?? null }));
    },
    finish: (_config, { states }) => states.last.entries().map(([key, known]) => ({ ...key, known })),
  });
  const rows = Array.from({ length: 50_000 }, (_, index) => ({ k: `a rather long key ${index}`, known: null }));
  const bench = new Bench(counted, { config: { key: "k" }, columns: t.Object({ k: t.String(), known: t.Null() }) });
  await bench.feed([]);
  await bench.feed(rows);
  assert.deepEqual((await bench.feed(rows)).rows.at(-1), { k: rows.at(-1)?.k, known: rows.at(-1)?.k });
  assert.equal(bench.host.state("last").length, rows.length);
  await bench.close();
});
