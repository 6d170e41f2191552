/** The page of a connection in an answer. */

export interface Page {
  nodes: Record<string, unknown>[];
  cursor: string | null;
  more: boolean;
}

/** What the connection at `path` holds, or what the service says is wrong. */
export function pageIn(answer: unknown, path: string): Page | { errors: string } {
  const { data, errors } = objectOf(answer);
  if (Array.isArray(errors) && errors.length > 0) {
    return { errors: errors.map((error) => String(objectOf(error)["message"] ?? "an error")).join("; ") };
  }
  let found: unknown = data;
  for (const word of path.split(".")) {
    found = objectOf(found)[word];
  }
  const { nodes, edges, pageInfo } = objectOf(found);
  const listed = Array.isArray(nodes) ? nodes : Array.isArray(edges) ? edges.map((edge) => objectOf(edge)["node"]) : null;
  if (listed === null) {
    return { errors: `there is no connection at \`${path}\`` };
  }
  const { endCursor, hasNextPage } = objectOf(pageInfo);
  return {
    nodes: listed.map(objectOf),
    cursor: typeof endCursor === "string" ? endCursor : null,
    more: hasNextPage === true,
  };
}

function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
