/** Components that the host's own drivers call in `tests/js`. */

import { processor, t } from "@dataflare/sdk";

export const same = processor({ doc: "Rows as they came.", each: (row) => row });

export const unplanned = processor({
  doc: "Columns that nobody announced.",
  process: ({ rows }) =>
    rows.map(({ n }, index) => ({
      n,
      at: index === 0 ? null : new Date(0),
      big: index === 0 ? 2n ** 60n : 1n,
      raw: new Uint8Array([0, 255]),
      mixed: index === 0 ? new Date(0) : "never",
    })),
});

export const summed = processor({
  doc: "The sum of `n` for each key, told when the input ends.",
  config: t.Object({ key: t.Columns() }),
  by: "key",
  input: t.Object({ n: t.Integer() }),
  state: t.Object({ sum: t.Integer() }),
  plan: (schema, { key }) => schema.select(...key).with(t.Object({ sum: t.Integer() })),
  each: (row, _config, { state }) => {
    state.sum += row.n;
    return null;
  },
  finish: (_config, { states }) => states.state.entries().map(([key, { sum }]) => ({ ...key, sum })),
});

export const quiet = processor({
  doc: "Tells of keys whose time has come.",
  config: t.Object({ key: t.Columns() }),
  by: "key",
  input: t.Object({ at: t.Date() }),
  plan: (schema, { key }) => schema.select(...key).with(t.Object({ quiet_at: t.Date() })),
  process: (batch, _config, { timers }) => {
    timers.set(
      batch,
      batch.rows.map((row) => row.at),
    );
    return null;
  },
  timer: (keys, _config, { time }) => keys.rows.map((key) => ({ ...key, quiet_at: time })),
});
