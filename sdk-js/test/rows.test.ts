/** Rows as in `tests/vectors/json_rows.json`, and values in their JavaScript types. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { processor, Schema, t } from "@dataflare/sdk";
import { Bench } from "@dataflare/sdk/testing";
import { partOf, readingOf, rowsIn, teachJson } from "../src/rows.js";
import { toText } from "../src/text.js";

interface Vector {
  type: string;
  json: unknown;
}

const vectors = JSON.parse(
  readFileSync(join(process.cwd(), "..", "tests", "vectors", "json_rows.json"), "utf8"),
) as Vector[];

test("every value of every type passes through as it came", async () => {
  const rows = vectors.map(({ json }) => ({ v: json }));
  const bench = new Bench(processor({ doc: "Itself.", process: (batch) => batch }));
  assert.deepEqual((await bench.feed(rows)).rows, rows);
  await bench.close();
});

const typed = t.Object({
  big: t.BigInt(),
  at: t.Nullable(t.Date()),
  raw: t.Uint8Array(),
  x: t.Number(),
  n: t.Integer(),
});

test("declared columns come in their JavaScript types, and go as they came", async () => {
  const seen: unknown[] = [];
  const same = processor({
    doc: "Itself.",
    input: typed,
    each(row) {
      seen.push(row.big, row.at, row.raw, row.x);
      return row;
    },
  });
  const rows = [
    { big: 5, at: "2026-01-31T12:30:00.500Z", raw: "AP8=", x: "NaN", n: 1 },
    { big: "9007199254740993", at: null, raw: "", x: 1.5, n: 2 },
  ];
  const bench = new Bench(same, { columns: typed });
  assert.deepEqual((await bench.feed(rows)).rows, rows);
  assert.deepEqual(seen, [
    ...[5n, new Date("2026-01-31T12:30:00.5Z"), Uint8Array.of(0, 255), Number.NaN],
    ...[9007199254740993n, null, new Uint8Array(), 1.5],
  ]);
  await bench.close();
});

test("a time without a zone is read as UTC, wherever this runs", () => {
  process.env.TZ = "America/New_York";
  const part = new TextEncoder().encode('[{"at":"2026-01-31T12:30:00"}]');
  const [row] = rowsIn(part, readingOf(t.Object({ at: t.Date() })));
  assert.deepEqual(row, { at: new Date("2026-01-31T12:30:00Z") });
});

test("what JSON would write as null is written out", () => {
  teachJson();
  const rows = [{ x: Number.NaN, y: [Number.POSITIVE_INFINITY], z: null }];
  const wanted = '[{"x":"NaN","y":["Infinity"],"z":null}]';
  assert.equal(toText(partOf(rows, undefined)), wanted);
  const columns = t.Object({ x: t.Number(), y: t.Array(t.Number()), z: t.Null() });
  assert.equal(toText(partOf(rows, Schema.of(columns))), wanted);
});

for (const text of ["", "{}", "[1]", "[null]", "nonsense"]) {
  test(`\`${text}\` is no batch`, () => {
    assert.throws(() => rowsIn(new TextEncoder().encode(text), null), { code: "guest.batch" });
  });
}
