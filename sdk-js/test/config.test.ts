/** Configurations: defaults, words, what is wrong with them, and their JSON Schema. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { t, tool, type Problem, type TObject } from "@dataflare/sdk";
import { Bench } from "@dataflare/sdk/testing";
import { checked } from "../src/check.js";
import { dashed } from "../src/describe.js";

const config = t.Object({
  path: t.String({ minLength: 1, description: "Where." }),
  rate: t.Number({ default: 0.5, minimum: 0, maximum: 1 }),
  lanes: t.Integer({ default: 4, exclusiveMinimum: 0, multipleOf: 2, "x-advanced": true }),
  every: t.Duration({ default: "1m30s" }),
  most: t.Bytes({ default: "16MiB" }),
  key: t.Columns({ default: [] }),
  mode: t.Choice(["fast", "safe"], { default: "fast" }),
  token: t.Optional(t.Secret()),
  tags: t.Array(t.String(), { default: [], maxItems: 2 }),
  rates: t.Record(t.String(), t.Number(), { default: {} }),
  nested: t.Optional(t.Object({ a: t.Integer(), b: t.Boolean({ default: true }) })),
  either: t.Optional(t.Union([t.Literal("auto"), t.Object({ width: t.Integer() })])),
  pattern: t.Optional(t.String({ pattern: "^[a-z]+$" })),
  none: t.Nullable(t.Integer(), { default: null }),
});

test("defaults are filled in and words are read", () => {
  assert.deepEqual(checked(config, { path: "x" }), {
    path: "x",
    rate: 0.5,
    lanes: 4,
    every: 90,
    most: 16 << 20,
    key: [],
    mode: "fast",
    tags: [],
    rates: {},
    none: null,
  });
  const given = { path: "x", every: 2, most: "1kB", key: "id", nested: { a: "5" }, rate: "1", either: { width: 3 } };
  assert.deepEqual(
    { ...checked(config, given) },
    {
      ...checked(config, { path: "x" }),
      ...{ every: 2, most: 1000, key: ["id"], nested: { a: 5, b: true }, rate: 1, either: { width: 3 } },
    },
  );
});

const wrong: [Record<string, unknown>, string, string][] = [
  [{}, "config.missing", "/path"],
  [{ path: "" }, "config.bound", "/path"],
  [{ path: 5 }, "config.type", "/path"],
  [{ path: "x", rate: 2 }, "config.bound", "/rate"],
  [{ path: "x", rate: true }, "config.type", "/rate"],
  [{ path: "x", rate: "many" }, "config.type", "/rate"],
  [{ path: "x", lanes: 3 }, "config.bound", "/lanes"],
  [{ path: "x", lanes: 1.5 }, "config.type", "/lanes"],
  [{ path: "x", every: "soon" }, "config.value", "/every"],
  [{ path: "x", most: "much" }, "config.value", "/most"],
  [{ path: "x", key: 5 }, "config.type", "/key"],
  [{ path: "x", mode: "slow" }, "config.choice", "/mode"],
  [{ path: "x", tags: ["a", 5] }, "config.type", "/tags/1"],
  [{ path: "x", tags: ["a", "b", "c"] }, "config.bound", "/tags"],
  [{ path: "x", rates: { "a/b": "x" } }, "config.type", "/rates/a~1b"],
  [{ path: "x", nested: {} }, "config.missing", "/nested/a"],
  [{ path: "x", nested: 5 }, "config.type", "/nested"],
  [{ path: "x", either: { width: "w" } }, "config.type", "/either/width"],
  [{ path: "x", pattern: "A" }, "config.bound", "/pattern"],
  [{ path: "x", pth: 1 }, "config.unknown_field", "/pth"],
];
for (const [given, code, pointer] of wrong) {
  test(`${JSON.stringify(given)} is refused: ${code} at ${pointer}`, () => {
    const [problem] = problems(config, given);
    assert.deepEqual([problem?.code, problem?.pointer], [code, pointer]);
  });
}

test("everything that is wrong is told at once", () => {
  assert.equal(problems(config, { path: 5, rate: 2, pth: 1 }).length, 3);
});

test("a secret is in no message", () => {
  const given = { path: "x", token: { hidden: "s3cret" } };
  assert.doesNotMatch(JSON.stringify(problems(config, given)), /s3cret/);
  assert.doesNotMatch(
    JSON.stringify(problems(t.Object({ token: t.Secret({ minLength: 90 }) }), { token: "s3cret" })),
    /s3cret/,
  );
});

test("the host sees a JSON Schema in which what has a default need not be given", async () => {
  const subject = tool({ doc: "Does it.\n\nMore of it.", config, input: t.Object({}), call: () => null });
  const told = await new Bench(subject).describe();
  const schema = told.config as TObject;
  assert.deepEqual(schema.required, ["path"]);
  assert.equal(schema.additionalProperties, false);
  assert.deepEqual([told.summary, told.doc, schema.description], ["Does it.", "Does it.\n\nMore of it.", "Does it."]);
  assert.equal(schema.properties.token?.["x-secret"], true);
});

test("names are written with dashes", () => {
  const names = { withVat: "with-vat", with_vat: "with-vat", tax: "tax", HTTPSource: "http-source", a1B: "a1-b" };
  for (const [name, wanted] of Object.entries(names)) {
    assert.equal(dashed(name), wanted);
  }
});

function problems(schema: TObject, given: unknown): readonly Problem[] {
  try {
    checked(schema, given);
    return [];
  } catch (error) {
    return (error as { problems: Problem[] }).problems;
  }
}
