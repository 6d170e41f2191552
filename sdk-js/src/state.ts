/** State by key, and timers: kept by the host, committed with the epoch. */

import { ConfigError } from "./errors.js";
import { blank } from "./check.js";
import type { Header } from "./frames.js";
import type { Host } from "./host.js";
import type { Keys } from "./keys.js";
import type { Row, Rows } from "./rows.js";
import type { TSchema } from "./t.js";
import { toBytes } from "./text.js";

/**
 * A value for each key. Writes take effect when the running call has been answered; if it fails, they never happened.
 * Rows may have more columns than the key.
 */
export interface KeyState<S> {
  /** The value for the key of each row; null where there is none. */
  get(rows: Rows | Iterable<object>): (S | null)[];
  /** New values for the keys of rows; null: forget. Of rows with one key the last counts. */
  put(rows: Rows | Iterable<object>, values: readonly (S | null)[]): void;
  /**
   * All keys that this lane holds, as rows of the key columns, with their values; not what the running call has put. The
   * order does not depend on when they came.
   */
  entries(): (readonly [Row, S])[];
  /** The same in any order, one after another: for more than should be in memory at once. */
  scan(): Iterable<readonly [Row, S]>;
}

/** Timers of the keys. Due ones come as a call of `timer`. */
export interface Timers {
  /** Ask to be called for the keys of these rows: at an event time, or with `event: false` at a clock time. */
  set(
    rows: Rows | Iterable<object>,
    at: Date | string | readonly (Date | string)[],
    options?: { event?: boolean },
  ): void;
  /** Forget the timers of these keys. */
  drop(rows: Rows | Iterable<object>): void;
}

/** Keys in one question. */
const AT_ONCE = 1024;

/** A declared state: what its values are, and how long one lives after its last `put` (seconds). */
export interface Kept {
  name: string;
  schema: TSchema;
  ttl: number | null;
}

/** The state that the host keeps under a name. */
export class HostState implements KeyState<unknown> {
  readonly #host: Host;
  readonly #keys: () => Keys;
  readonly #kept: Kept;

  constructor(host: Host, keys: () => Keys, kept: Kept) {
    this.#host = host;
    this.#keys = keys;
    this.#kept = kept;
  }

  get(rows: Iterable<object>): unknown[] {
    return this.of(this.#keys().of([...rows]));
  }

  put(rows: Iterable<object>, values: readonly unknown[]): void {
    this.keep(this.#keys().of([...rows]), values);
  }

  entries(): (readonly [Row, unknown])[] {
    const held = [...this.#items()];
    return held.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [this.#keys().row(key), value] as const);
  }

  *scan(): Iterable<readonly [Row, unknown]> {
    for (const [key, value] of this.#items()) {
      yield [this.#keys().row(key), value];
    }
  }

  /** The values of keys. */
  of(keys: readonly string[]): unknown[] {
    const { name } = this.#kept;
    const found: unknown[] = [];
    for (const [start, end] of slices(keys.length)) {
      const { header } = this.#host.ask("state.get", { name, keys: keys.slice(start, end) });
      found.push(...(header.values as unknown[]));
    }
    return found;
  }

  /** New values for keys. */
  keep(keys: readonly string[], values: readonly unknown[]): void {
    const { name, ttl } = this.#kept;
    if (values.length !== keys.length) {
      const message = `the state \`${name}\` got ${values.length} values for ${keys.length} keys`;
      throw new ConfigError("state.length", message);
    }
    for (const [start, end] of slices(keys.length)) {
      const part = values.slice(start, end).map((value) => value ?? null);
      this.#host.ask("state.put", { name, keys: keys.slice(start, end), values: part, ttl });
    }
  }

  *#items(): Generator<readonly [string, unknown]> {
    const words: Header = { name: this.#kept.name, limit: AT_ONCE };
    do {
      const { header } = this.#host.ask("state.items", words);
      const values = header.values as unknown[];
      for (const [index, key] of (header.keys as string[]).entries()) {
        yield [key, values[index]];
      }
      words.after = header.next;
    } while (words.after !== undefined && words.after !== null);
  }

  /** A value for a key that has none yet. */
  blank(): unknown {
    return blank(this.#kept.schema);
  }
}

/** The timers that the host keeps. */
export function hostTimers(host: Host, columns: () => readonly string[]): Timers {
  const part = (rows: Row[]): Uint8Array => {
    const names = columns();
    return toBytes(
      JSON.stringify(rows.map((row) => Object.fromEntries(names.map((name) => [name, row[name] ?? null])))),
    );
  };
  return {
    set(rows, at, { event = true } = {}) {
      const listed = [...rows] as Row[];
      const times = Array.isArray(at) ? (at as readonly (Date | string)[]) : listed.map(() => at as Date | string);
      const told = times.map((time) => (time instanceof Date ? time.toISOString() : time));
      for (const [start, end] of slices(listed.length)) {
        host.ask("timers.set", { at: told.slice(start, end), event, part: 0 }, [part(listed.slice(start, end))]);
      }
    },
    drop(rows) {
      const listed = [...rows] as Row[];
      if (listed.length > 0) {
        host.ask("timers.drop", { part: 0 }, [part(listed)]);
      }
    },
  };
}

/** The parts in which so many keys are asked for: a header has at most 1 MiB. */
function* slices(length: number): Generator<readonly [number, number]> {
  for (let start = 0; start < length; start += AT_ONCE) {
    yield [start, start + AT_ONCE];
  }
}
