/** Browsers, systems and devices from User-Agent headers. */

import { processor, t } from "@dataflare/sdk";
import { parse } from "./parse.js";

export const parsed = processor({
  name: "parse",
  doc: "Add `browser`, `browser_version`, `system` and `device` of the column `user_agent`; what is unknown is null.",
  config: t.Object({
    bots: t.Boolean({ default: true, description: "Keep the rows of bots; else they are left out." }),
  }),
  input: t.Object({ user_agent: t.Nullable(t.String()) }),
  adds: t.Object({
    browser: t.Nullable(t.String()),
    browser_version: t.Nullable(t.String()),
    system: t.Nullable(t.String()),
    device: t.Nullable(t.String()),
  }),
  cardinality: "filter",
  each(row, { bots }) {
    const found = parse(row.user_agent ?? "");
    return found.device === "bot" && !bots ? null : { ...row, ...found };
  },
});
