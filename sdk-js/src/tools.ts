/** Calling a tool: progress, then the answer. */

import type { Answer, Answers } from "./answers.js";
import { checked } from "./check.js";
import type { Instance } from "./instance.js";
import { isGenerator, Items, type Steps } from "./steps.js";
import { t } from "./t.js";

/** The answers to a call: `progress` as often as the tool tells, `output` at last. */
export function* toolAnswers(instance: Instance, input: unknown): Steps<Answers> {
  const given = checked(instance.spec.input ?? t.Object({}), input);
  yield* instance.open();
  let called: unknown;
  try {
    called = yield* instance.call("call", [given]);
  } catch (error) {
    yield* instance.close();
    throw error;
  }
  return new Told(instance, new Items(isGenerator(called) ? called : [called]));
}

/** What a tool tells: the last value is its answer, so each is held back until the next comes. */
class Told implements Answers {
  readonly #instance: Instance;
  readonly #values: Items<unknown>;
  #latest: IteratorResult<unknown> | null = null;
  #over = false;

  constructor(instance: Instance, values: Items<unknown>) {
    this.#instance = instance;
    this.#values = values;
  }

  *next(): Steps<IteratorResult<Answer>> {
    if (this.#over) {
      return { done: true, value: undefined };
    }
    try {
      const held = this.#latest ?? (yield* this.#values.next());
      this.#latest = held.done ? held : yield* this.#values.next();
      const value: unknown = held.value ?? null;
      if (!this.#latest.done) {
        return { done: false, value: [{ progress: value }] };
      }
      yield* this.end();
      return { done: false, value: [{ output: value }] };
    } catch (error) {
      yield* this.end();
      throw error;
    }
  }

  *end(): Steps<void> {
    if (!this.#over) {
      this.#over = true;
      yield* this.#values.end();
      yield* this.#instance.close();
    }
  }
}
