/** Pages of a GraphQL connection. */

import { ConfigError, Failed, Retry, source, t, type Row } from "@dataflare/sdk";
import { pageIn } from "./page.js";

export const connection = source({
  name: "connection",
  doc: "The nodes of a connection, a page at a time, from the newest cursor on. The query takes `$first` and `$after`.",
  config: t.Object({
    url: t.String({ description: "The address of the service." }),
    query: t.String({ minLength: 1, description: "The query; its connection has `nodes` (or `edges`) and `pageInfo`." }),
    path: t.String({ minLength: 1, description: "Where the connection is in the answer: `viewer.orders`." }),
    variables: t.Record(t.String(), t.Unknown(), { default: {}, description: "More variables of the query." }),
    first: t.Integer({ default: 100, minimum: 1, maximum: 10_000, description: "Nodes to a page." }),
    headers: t.Record(t.String(), t.String(), { default: {}, description: "Headers; secrets are put in by the host." }),
  }),
  start: "",
  deterministic: false,
  /** The position is the cursor of the last page; empty at the beginning. */
  *read(cursor, config, ctx) {
    let after = cursor === "" ? null : cursor;
    while (!ctx.cancelled) {
      const variables = { ...config.variables, first: config.first, after };
      const answer = ctx.http.post(config.url, { query: config.query, variables }, { headers: config.headers });
      if (answer.status === 429 || answer.status >= 500) {
        throw new Retry(waitOf(answer.headers["retry-after"]), `the service answered ${answer.status}`);
      }
      if (!answer.ok) {
        throw new Failed("graphql.status", `the service answered ${answer.status}`, { cause: answer.text().slice(0, 300) });
      }
      const page = pageIn(answer.json(), config.path);
      if ("errors" in page) {
        throw new ConfigError("graphql.query", "the service refuses the query", { cause: page.errors });
      }
      const last = page.cursor ?? after ?? "";
      if (page.nodes.length > 0) {
        yield [page.nodes as Row[], last];
      }
      if (!page.more || last === after) {
        return;
      }
      after = last;
    }
  },
});

function waitOf(told: string | undefined): number {
  const seconds = Number(told);
  return told !== undefined && Number.isFinite(seconds) && seconds >= 0 ? seconds : 5;
}
