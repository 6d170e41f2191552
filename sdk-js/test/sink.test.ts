/** Sinks and tools: epochs, tokens, what is refused; input, progress and answers. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, Retry, serve, sink, t, tool } from "@dataflare/sdk";
import { Bench, call, write } from "@dataflare/sdk/testing";
import { pack, unpack, type Header } from "../src/frames.js";

test("an append sink writes batches and nothing else", async () => {
  const sent: unknown[] = [];
  const hook = sink({
    doc: "Posts rows.",
    config: t.Object({ url: t.String() }),
    async write({ rows }, { url }, ctx) {
      await Promise.resolve();
      sent.push(ctx.http.post(url, rows).status, ctx.epoch);
    },
  });
  const http = (): { status: number } => ({ status: 204 });
  const { token } = await write(hook, [{ n: 1 }], { config: { url: "https://x.example" }, http });
  assert.deepEqual([sent, token], [[204, 1], null]);
  const { abilities, operations } = await new Bench(hook).describe();
  assert.equal((abilities as { ability: string }).ability, "append");
  assert.deepEqual(operations, ["write"]);
});

test("commit knows only its tokens and the epoch; a lane without rows has none", async () => {
  const published = new Map<number, unknown>();
  const files = sink({
    doc: "Staged files.",
    ability: "staged",
    open: () => ({ rows: 0 }),
    begin: (_epoch, _config, { own }) => void (own.rows = 0),
    write: ({ length }, _config, { own }) => void (own.rows += length),
    prepare: (epoch, _config, { own, last }) => (own.rows === 0 ? null : { file: `${epoch}`, rows: own.rows, last }),
    commit: (tokens, _config, { epoch }) => void published.set(epoch, tokens),
  });
  const bench = new Bench(files);
  const { token } = await bench.prepare(3, [{ n: 1 }, { n: 2 }], true);
  assert.deepEqual(token, { file: "3", rows: 2, last: true });
  assert.equal((await bench.prepare(4, [])).token, null);
  await bench.commit(3, token, null);
  await bench.commit(3, token, null);
  assert.deepEqual([...published], [[3, [token]]]);
  await bench.close();
});

test("a token that is too large is refused", async () => {
  const large = sink({ doc: "Large.", write: () => undefined, prepare: () => "x".repeat(70_000) });
  await assert.rejects(write(large, [{ n: 1 }]), { code: "sink.token_too_large" });
});

test("a retry names the rows that are left", async () => {
  const busy = sink({
    doc: "Busy.",
    write({ length }) {
      throw new Retry(
        2,
        "busy",
        Array.from({ length }, (_, index) => index > 0),
      );
    },
  });
  const bench = new Bench(busy);
  const error = await bench.prepare(1, [{ n: 1 }, { n: 2 }]).catch((reason: unknown) => reason);
  assert.equal((error as ConfigError).code, "step.retry");
  await bench.close();
});

test("a sink refuses columns that it cannot write", async () => {
  const narrow = sink({
    doc: "Narrow.",
    input: t.Object({ id: t.Integer() }),
    plan(schema) {
      if (schema.column("blob")) {
        throw new ConfigError("narrow.blob", "`blob` cannot be written", { fix: "drop it before" });
      }
    },
    write: () => undefined,
  });
  assert.deepEqual((await new Bench(narrow).describe()).operations, ["plan", "write"]);
  await assert.rejects(new Bench(narrow).plan(t.Object({ n: t.Integer() })), { code: "plan.column" });
  await assert.rejects(new Bench(narrow).plan(t.Object({ id: t.Integer(), blob: t.String() })), {
    code: "narrow.blob",
  });
  assert.deepEqual(await new Bench(narrow).plan(t.Object({ id: t.Integer() })), {});
});

const RATES: Record<string, number> = { FR: 0.2, DE: 0.19 };

const taxOf = tool({
  doc: "The tax on a net price.",
  input: t.Object({ net: t.Number(), country: t.Choice(["FR", "DE"], { default: "FR" }) }),
  config: t.Object({ factor: t.Number({ default: 1 }) }),
  call: ({ net, country }, { factor }) => net * (RATES[country] ?? 0) * factor,
});

test("a tool answers", async () => {
  assert.equal(await call(taxOf, { net: 100 }), 20);
  assert.equal(await call(taxOf, { net: 100, country: "DE" }, { config: { factor: 2 } }), 38);
  await assert.rejects(call(taxOf, { net: 1, country: "XX" }), { code: "config.choice" });
  await assert.rejects(call(taxOf, { country: "FR" }), { code: "config.missing" });
});

test("a tool tells its progress, is opened before and closed after, also when it fails", async () => {
  const steps: unknown[] = [];
  const long = tool({
    doc: "Long.",
    input: t.Object({ fail: t.Boolean({ default: false }) }),
    open: () => void steps.push("open"),
    close: () => void steps.push("close"),
    async *call({ fail }) {
      await Promise.resolve();
      yield { done: 1 };
      if (fail) {
        throw new Error("no");
      }
      yield { done: 2 };
      yield "answer";
    },
  });
  assert.equal(await new Bench(long).call({}, steps), "answer");
  assert.deepEqual(steps.splice(0), ["open", { done: 1 }, { done: 2 }, "close"]);
  await assert.rejects(call(long, { fail: true }), { code: "step.failed" });
  assert.deepEqual(steps, ["open", "close"]);
});

test("a tool that nobody asks further is ended and closed", async () => {
  const steps: string[] = [];
  const long = tool({
    doc: "Long.",
    input: t.Object({}),
    *call() {
      try {
        yield 1;
        yield 2;
        yield 3;
      } finally {
        steps.push("ended");
      }
    },
    close: () => void steps.push("closed"),
  });
  const handle = serve({ long });
  const ask = async (header: Header): Promise<Header> => unpack(await handle(pack(header), () => pack({}))).header;
  assert.deepEqual(await ask({ op: "call", component: "tool:long" }), { progress: 1, more: true });
  assert.deepEqual(steps, []);
  await ask({ op: "describe" });
  assert.deepEqual(steps, ["ended", "closed"]);
  assert.equal(((await ask({ op: "continue" })).error as Header).code, "guest.nothing_more");
});
