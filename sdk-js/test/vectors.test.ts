/** The conversations of `tests/vectors/guest.json`, with the same components as in every SDK's tests. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { serve, type HostCall } from "@dataflare/sdk";
import { pack, unpack, type Header } from "../src/frames.js";
import * as plugin from "./plugin.js";

interface Part {
  json?: unknown;
  text?: string;
  u32?: number[];
}
interface Turn {
  request: Header;
  parts?: Part[];
  host?: { question: Header; answer: Header }[];
  answer: Header;
  answer_parts?: Part[];
}

const file = join(process.cwd(), "..", "tests", "vectors", "guest.json");
const { conversations } = JSON.parse(readFileSync(file, "utf8")) as {
  conversations: { name: string; turns: Turn[] }[];
};

for (const { name, turns } of conversations) {
  test(name, async () => {
    const handle = serve(plugin);
    for (const turn of turns) {
      const expected = [...(turn.host ?? [])];
      const host: HostCall = (bytes) => {
        const next = expected.shift();
        assert.deepEqual(unpack(bytes).header, next?.question);
        return pack(next?.answer ?? {});
      };
      const answer = unpack(await handle(pack(turn.request, (turn.parts ?? []).map(partOf)), host));
      assert.deepEqual(told(answer.header), turn.answer, JSON.stringify(turn.request));
      assert.deepEqual(expected, []);
      const wanted = turn.answer_parts ?? [];
      assert.equal(answer.parts.length, wanted.length);
      assert.deepEqual(
        answer.parts.map((part, index) => read(part, wanted[index] ?? {})),
        wanted,
      );
    }
  });
}

function partOf(part: Part): Uint8Array {
  return new TextEncoder().encode("json" in part ? JSON.stringify(part.json) : (part.text ?? ""));
}

function read(part: Uint8Array, like: Part): Part {
  if ("u32" in like) {
    return { u32: [...new Uint32Array(part.slice().buffer)] };
  }
  const text = new TextDecoder().decode(part);
  return "json" in like ? { json: JSON.parse(text) as unknown } : { text };
}

/** A header as the vectors have it: of an error code, kind and pointer, of a schema its columns. */
function told(header: Header): Header {
  const { problems: _problems, ...kept } = header;
  if (kept.error !== undefined) {
    const { code, kind, pointer } = kept.error as Header;
    kept.error = { code, kind, ...(pointer ? { pointer } : {}) };
  }
  if (kept.schemas) {
    const schemas = Object.entries(kept.schemas as Record<string, Header>);
    kept.schemas = Object.fromEntries(schemas.map(([name, { columns }]) => [name, { columns }]));
  }
  return kept;
}
