/**
 * Waiting for authors' functions that may or may not be async, without making everything async.
 *
 * The SDK's operations are generators that `yield` what must be awaited. One that meets nothing to await runs to its end
 * at once, so a plugin without promises never pays for them.
 */

/** An operation of the SDK: `yield*` it in another one, or `run` it. */
export type Steps<T> = Generator<PromiseLike<unknown>, T, unknown>;

/** The value, awaited where it must be. */
export function* settled<T>(value: T | PromiseLike<T>): Steps<T> {
  return isThenable(value) ? ((yield value) as T) : value;
}

/** Run an operation: its result, or a promise of it as soon as something has to be awaited. */
export function run<T>(steps: Steps<T>): T | Promise<T> {
  const first = steps.next();
  return first.done ? first.value : resume(steps, first.value);
}

/** Whether a value is a promise. */
export function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}

async function resume<T>(steps: Steps<T>, first: PromiseLike<unknown>): Promise<T> {
  let waiting = first;
  for (;;) {
    const next = await waiting.then(
      (value) => steps.next(value),
      (error: unknown) => steps.throw(error),
    );
    if (next.done) {
      return next.value;
    }
    waiting = next.value;
  }
}

/** The items of a generator, sync or async, one at a time; of a list its items. */
export class Items<T> {
  readonly #iterator: Iterator<T> | AsyncIterator<T>;

  constructor(given: Iterable<T> | AsyncIterable<T>) {
    this.#iterator = Symbol.asyncIterator in given ? given[Symbol.asyncIterator]() : given[Symbol.iterator]();
  }

  /** The next one. */
  *next(): Steps<IteratorResult<T>> {
    return yield* settled(this.#iterator.next());
  }

  /** End it at its `yield`, so that its `finally` runs. */
  *end(): Steps<void> {
    const ended = this.#iterator.return?.();
    if (ended !== undefined) {
      yield* settled<unknown>(ended);
    }
  }

  /** All that are left. */
  *all(): Steps<T[]> {
    const found: T[] = [];
    for (;;) {
      const next = yield* this.next();
      if (next.done) {
        return found;
      }
      found.push(next.value);
    }
  }
}

/** Whether a value is a generator, or another iterator that can be iterated. */
export function isGenerator(value: unknown): value is Iterable<unknown> | AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { next?: unknown }).next === "function";
}
