/** The filter and the compute step of W1 as a plugin, over JSON rows. */

import { processor, t } from "@dataflare/sdk";

const Reading = t.Object({ temperature: t.Number() });

export const hot = processor({
  doc: "Keeps rows above a temperature.",
  config: t.Object({ above: t.Number({ default: 20 }) }),
  input: Reading,
  adds: t.Object({}),
  cardinality: "filter",
  process: ({ rows }, { above }) => rows.filter(({ temperature }) => temperature > above),
});

export const fahrenheit = processor({
  doc: "Adds the temperature in degrees Fahrenheit.",
  input: Reading,
  adds: t.Object({ fahrenheit: t.Number() }),
  cardinality: "one",
  process({ rows }) {
    for (const row of rows) {
      (row as Record<string, unknown>)["fahrenheit"] = (row.temperature * 9) / 5 + 32;
    }
    return rows;
  },
});
