import assert from "node:assert/strict";
import { test } from "node:test";
import { pageIn } from "../src/page.js";

test("nodes and edges are both read", () => {
  const pageInfo = { endCursor: "b", hasNextPage: true };
  const nodes = [{ id: 1 }, { id: 2 }];
  const wanted = { nodes, cursor: "b", more: true };
  assert.deepEqual(pageIn({ data: { shop: { orders: { nodes, pageInfo } } } }, "shop.orders"), wanted);
  const edges = nodes.map((node) => ({ node, cursor: "x" }));
  assert.deepEqual(pageIn({ data: { orders: { edges, pageInfo } } }, "orders"), wanted);
});

test("errors and missing connections are told", () => {
  assert.deepEqual(pageIn({ errors: [{ message: "no" }, {}] }, "a"), { errors: "no; an error" });
  for (const answer of [null, [], "text", { data: null }, { data: { a: { nodes: 1 } } }]) {
    assert.ok("errors" in pageIn(answer, "a"));
  }
});

test("without pageInfo it is the last page", () => {
  assert.deepEqual(pageIn({ data: { a: { nodes: [] } } }, "a"), { nodes: [], cursor: null, more: false });
});
