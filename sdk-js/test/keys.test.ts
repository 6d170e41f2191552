/** Keys as in `tests/vectors/keys.json`. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Schema } from "@dataflare/sdk";
import { Keys } from "../src/keys.js";
import { teachJson } from "../src/rows.js";

interface Vector {
  types: string[];
  values: unknown[];
  key: string;
}

/** The vectors' short names of types, and how Arrow prints those that it calls otherwise. */
const PRINTED: [RegExp, string][] = [
  [/^float64$/, "double"],
  [/^float32$/, "float"],
  [/^dictionary<(\w+)>$/, "dictionary<values=$1, indices=int32, ordered=0>"],
  [/^date32$/, "date32[day]"],
  [/^date64$/, "date64[ms]"],
  [/^timestamp\[(\w+), (.+)\]$/, "timestamp[$1, tz=$2]"],
  [/^time\[(s|ms)\]$/, "time32[$1]"],
  [/^time\[(us|ns)\]$/, "time64[$1]"],
];
const vectors = JSON.parse(
  readFileSync(join(process.cwd(), "..", "tests", "vectors", "keys.json"), "utf8"),
) as Vector[];

for (const { types, values, key } of vectors) {
  test(`${types.join(", ")}: ${JSON.stringify(values)}`, () => {
    const names = types.map((_, index) => `k${index}`);
    const row = Object.fromEntries(names.map((name, index) => [name, values[index]]));
    for (const form of [types, types.map(printed)]) {
      const schema = new Schema(names.map((name, index) => ({ name, type: form[index] ?? "", nullable: true })));
      const keys = new Keys(names, schema);
      assert.equal(Buffer.from(keys.key(row), "base64").toString("hex"), key);
      assert.equal(Buffer.from(keys.key(row), "base64").toString("hex"), key, "the second time it is remembered");
    }
  });
}

test("a key gives back the values that it was made of", () => {
  for (const { types, values, key } of vectors) {
    const names = types.map((_, index) => `k${index}`);
    const schema = new Schema(names.map((name, index) => ({ name, type: types[index] ?? "", nullable: true })));
    const keys = new Keys(names, schema);
    const row = keys.row(Buffer.from(key, "hex").toString("base64"));
    assert.equal(Buffer.from(keys.key(row), "base64").toString("hex"), key);
    const exact = !types.some((type) => type.startsWith("decimal"));
    assert.ok(!exact || names.every((name, index) => String(row[name]) === String(values[index])), JSON.stringify(row));
  }
});

test("values in their JavaScript types have the same keys", () => {
  teachJson();
  const types = { b: "int64", d: "timestamp[us, tz=UTC]", r: "binary" };
  const schema = new Schema(Object.entries(types).map(([name, type]) => ({ name, type, nullable: true })));
  const keys = new Keys(["b", "d", "r"], schema);
  const plain = { b: "9007199254740993", d: "1970-01-01T00:00:01Z", r: "AP8=" };
  const typed = { b: 9007199254740993n, d: new Date(1000), r: Uint8Array.of(0, 255) };
  assert.equal(new Keys(["b", "d", "r"], schema).key(typed), keys.key(plain));
});

test("not a number and null are different keys", () => {
  const columns = ["a", "b"].map((name) => ({ name, type: "double", nullable: true }));
  const keys = new Keys(["a", "b"], new Schema(columns));
  assert.notEqual(keys.key({ a: Number.NaN, b: 1 }), keys.key({ a: null, b: 1 }));
  assert.equal(keys.key({ a: Number.NaN, b: 1 }), keys.key({ a: "NaN", b: 1 }));
  assert.equal(keys.key({ b: 1 }), keys.key({ a: null, b: 1 }));
});

test("what cannot be a key is refused", () => {
  const schema = new Schema([{ name: "l", type: "list<item: int64>", nullable: true }]);
  assert.throws(() => new Keys(["l"], schema), { code: "keys.type" });
  assert.throws(() => new Keys(["x"], schema), { code: "keys.column" });
});

function printed(type: string): string {
  return PRINTED.reduce((name, [from, to]) => name.replace(from, to), type);
}
