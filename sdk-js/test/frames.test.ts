/** Frames: whatever comes is answered. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { serve } from "@dataflare/sdk";
import { pack, unpack, type Header } from "../src/frames.js";
import { seeded } from "../src/random.js";
import { fromBase64, toBase64 } from "../src/text.js";
import * as plugin from "./plugin.js";

const handle = serve(plugin);
const noHost = (): Uint8Array => pack({});

async function answered(bytes: Uint8Array): Promise<Header> {
  return unpack(await handle(bytes, noHost)).header;
}

test("a frame is read as it was written", () => {
  const parts = [Uint8Array.of(1, 2, 3), new Uint8Array(), new Uint8Array(100_000).fill(7)];
  const header = { op: "x", text: "Zürich ☃ 𝄞", deep: { a: [1, null] } };
  assert.deepEqual(unpack(pack(header, parts)), { header, parts });
});

test("bytes that are no frame are answered with what is wrong", async () => {
  const random = seeded("frames");
  const good = pack({ op: "describe" }, [Uint8Array.of(1, 2)]);
  for (let round = 0; round < 300; round += 1) {
    const bytes = good.slice(0, Math.floor(random() * good.length));
    bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    const { error } = await answered(bytes);
    assert.equal((error as Header).code, "guest.frame");
  }
});

test("words that are missing or wrong are answered with an error", async () => {
  for (const op of ["open", "read", "process", "write", "splits", "commit", "constructor"]) {
    for (const more of [{}, { instance: 1 }, { component: "source:numbers", config: [] }, { component: "tool:add" }]) {
      assert.ok("error" in (await answered(pack({ op, ...more }))), op);
    }
  }
});

test("a header that is too large is refused", () => {
  assert.throws(() => pack({ text: "x".repeat(1 << 20) }), { code: "guest.frame" });
});

test("base64 without the engine's own is the same", () => {
  const engine = globalThis as unknown as Record<string, unknown>;
  const [atob, btoa] = [engine.atob, engine.btoa];
  for (let size = 0; size < 70; size += 1) {
    const bytes = Uint8Array.from({ length: size }, (_, index) => (index * 37) % 256);
    const text = Buffer.from(bytes).toString("base64");
    assert.equal(toBase64(bytes), text);
    assert.deepEqual(fromBase64(text), bytes);
    try {
      engine.atob = engine.btoa = undefined;
      assert.equal(toBase64(bytes), text);
      assert.deepEqual(fromBase64(text), bytes);
    } finally {
      [engine.atob, engine.btoa] = [atob, btoa];
    }
  }
});
