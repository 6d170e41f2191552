/** `t` makes what TypeBox makes, and what is inferred of it is right. */

/* eslint @typescript-eslint/no-unused-vars: "off", @typescript-eslint/no-unnecessary-type-parameters: "off" -- types are what is tested here */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Type, type Static as StaticOfTypeBox } from "@sinclair/typebox";
import { processor, sink, source, t, tool, type Static } from "@dataflare/sdk";

test("the words make TypeBox's schemas", () => {
  const pairs: [unknown, unknown][] = [
    [t.Any(), Type.Any()],
    [t.Array(t.String(), { maxItems: 3 }), Type.Array(Type.String(), { maxItems: 3 })],
    [t.BigInt(), Type.BigInt()],
    [t.Boolean({ default: true }), Type.Boolean({ default: true })],
    [t.Date(), Type.Date()],
    [t.Integer({ minimum: 1 }), Type.Integer({ minimum: 1 })],
    [t.Literal("a"), Type.Literal("a")],
    [t.Literal(5), Type.Literal(5)],
    [t.Null(), Type.Null()],
    [t.Nullable(t.Integer()), Type.Union([Type.Integer(), Type.Null()])],
    [t.Number(), Type.Number()],
    [t.Record(t.String(), t.Number()), Type.Record(Type.String(), Type.Number())],
    [t.String({ pattern: "^a" }), Type.String({ pattern: "^a" })],
    [t.Uint8Array(), Type.Uint8Array()],
    [t.Union([t.String(), t.Integer()]), Type.Union([Type.String(), Type.Integer()])],
    [t.Unknown(), Type.Unknown()],
    [
      t.Object({ a: t.Integer(), b: t.Optional(t.String()) }, { description: "d" }),
      Type.Object({ a: Type.Integer(), b: Type.Optional(Type.String()) }, { description: "d" }),
    ],
  ];
  for (const [mine, theirs] of pairs) {
    assert.deepEqual(mine, theirs);
  }
});

/** Fails to compile unless both are the same type. */
type Same<A, B> = (<X>() => X extends A ? 1 : 2) extends <X>() => X extends B ? 1 : 2 ? true : false;
const same = <_A, _B>(_proof: Same<_A, _B>): void => undefined;

test("configurations, rows, positions, tokens and states have the types that were declared", () => {
  const config = t.Object({
    count: t.Integer({ default: 1 }),
    mode: t.Choice(["a", "b"]),
    key: t.Columns(),
    every: t.Duration(),
    note: t.Optional(t.String()),
    rates: t.Record(t.String(), t.Number()),
    either: t.Union([t.Literal("auto"), t.Null()]),
  });
  interface Told {
    note?: string;
    count: number;
    mode: "a" | "b";
    key: string[];
    every: number;
    rates: Record<string, number>;
    either: "auto" | null;
  }
  const given = (told: Static<typeof config>): Told => told;
  const taken = (told: Told): Static<typeof config> => told;
  assert.ok(given !== taken);
  same<Static<typeof config>["mode"], "a" | "b">(true);
  same<StaticOfTypeBox<typeof config>["note"], string | undefined>(true);

  source({
    doc: "d",
    config,
    start: { at: 0 },
    splits: (position, { count }) => {
      same<typeof count, number>(true);
      return [{ id: JSON.stringify(position) }];
    },
    *read(position, { mode }, { split, demand }) {
      same<typeof position, { at: number }>(true);
      same<typeof mode, "a" | "b">(true);
      same<typeof split.id, string>(true);
      same<typeof demand.rows, number>(true);
      yield [[{ n: 1 }], { at: 1 }];
    },
    acknowledge: (position) => {
      same<typeof position, { at: number }>(true);
    },
  });

  source({
    doc: "d",
    // @ts-expect-error -- a position of another type
    start: { at: 0 },
    *read() {
      yield [[{ n: 1 }], 5];
    },
  });

  processor({
    doc: "d",
    config,
    by: "key",
    input: t.Object({ n: t.Number(), big: t.BigInt() }),
    state: t.Object({ seen: t.Integer() }),
    states: { last: t.Array(t.String()) },
    open: ({ count }) => ({ opened: count }),
    each: (row, { count }, { state, own, epoch }) => {
      same<typeof row.n, number>(true);
      same<typeof row.big, bigint>(true);
      same<typeof row.other, unknown>(true);
      same<typeof count, number>(true);
      same<typeof state.seen, number>(true);
      same<typeof own, { opened: number }>(true);
      same<typeof epoch, number>(true);
      return row;
    },
    timer: (keys, _config, { states, time }) => {
      same<typeof time, Date>(true);
      const known = states.last.get(keys);
      same<typeof known, (string[] | null)[]>(true);
      same<ReturnType<typeof states.state.get>, ({ seen: number } | null)[]>(true);
      return null;
    },
  });
  // @ts-expect-error -- `by` names no field of the configuration
  processor({ doc: "d", config, by: "nothing", each: (row) => row });

  sink({
    doc: "d",
    ability: "staged",
    input: t.Object({ n: t.Integer() }),
    open: () => ({ rows: [] as number[] }),
    write: (batch, _config, { own }) => {
      own.rows.push(...batch.rows.map(({ n }) => n));
    },
    prepare: (epoch, _config, { own, last }) => {
      same<typeof epoch, number>(true);
      same<typeof last, boolean>(true);
      return { file: `${epoch}`, rows: own.rows.length };
    },
    commit: (tokens) => {
      same<typeof tokens, readonly { file: string; rows: number }[]>(true);
    },
  });

  tool({
    doc: "d",
    input: t.Object({ net: t.Number(), country: t.Choice(["FR"], { default: "FR" }) }),
    config,
    call: ({ net, country }, { every }) => {
      same<typeof country, "FR">(true);
      return net * every;
    },
  });
});
