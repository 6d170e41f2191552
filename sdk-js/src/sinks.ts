/** The operations of a sink. */

import type { Answer, Answers } from "./answers.js";
import { textOf, word, type Frame } from "./frames.js";
import { Failed } from "./errors.js";
import type { Instance } from "./instance.js";
import { batchIn, rejectsOf } from "./processors.js";
import { outputOf, type Rows } from "./rows.js";
import { isGenerator, Items, type Steps } from "./steps.js";
import { toBytes } from "./text.js";

const TOKEN_LIMIT = 64 * 1024;

/** An epoch begins. */
export function* begin(instance: Instance, { header }: Frame): Steps<Answer> {
  const epoch = Number(word(header, "epoch"));
  instance.moment({ epoch });
  yield* instance.call("begin", [epoch]);
  return [{}];
}

/** Rows of the epoch. */
export function* write(instance: Instance, frame: Frame): Steps<Answer> {
  const batch = batchIn(instance, frame, "");
  yield* instance.call("write", [batch]);
  const parts: Uint8Array[] = [];
  return [{ rejects: rejectsOf(batch, parts) }, parts];
}

/** Make them durable; the token is all that `commit` will know. */
export function* prepare(instance: Instance, { header }: Frame): Steps<Answer> {
  const epoch = Number(word(header, "epoch"));
  const token = (yield* instance.call("prepare", [epoch], { epoch, last: header.last === true })) ?? null;
  const size = toBytes(JSON.stringify(token)).length;
  if (size > TOKEN_LIMIT) {
    const message = `the token of \`${instance.name}\` for epoch ${epoch} has ${size} bytes`;
    const fix = "write the details aside and name them in the token";
    throw new Failed("sink.token_too_large", message, { cause: `allowed are ${TOKEN_LIMIT}`, fix });
  }
  return [{ token }];
}

/** Publish. A lane whose `prepare` gave nothing has no token. */
export function* commit(instance: Instance, { header }: Frame): Steps<Answer> {
  yield* instance.call("commit", [tokensIn(header)], { epoch: Number(word(header, "epoch")) });
  return [{}];
}

/** Undo what was prepared. */
export function* abort(instance: Instance, { header }: Frame): Steps<Answer> {
  yield* instance.call("abort", [tokensIn(header)], { epoch: Number(word(header, "epoch")) });
  return [{}];
}

/** The epoch that the target holds. */
export function* recover(instance: Instance): Steps<Answer> {
  return [{ epoch: (yield* instance.call("recover")) ?? null }];
}

/** What is in the target: one answer for each batch. */
export function* readback(instance: Instance, { header }: Frame): Steps<Answers> {
  const given = yield* instance.call("readback", [textOf(header.stream)]);
  const batches = isGenerator(given) ? yield* new Items(given).all() : [given ?? []];
  return new Items(batches.map((rows) => answerOf(rows as Rows)));
}

function answerOf(rows: Rows): Answer {
  const parts: Uint8Array[] = [];
  return [{ outputs: [outputOf("", rows, undefined, parts)] }, parts];
}

function tokensIn(header: Frame["header"]): unknown[] {
  return ((header.tokens ?? []) as unknown[]).filter((token) => token !== null);
}
