/** The operations of a source. */

import type { Answer } from "./answers.js";
import { ConfigError } from "./errors.js";
import { word, type Frame, type Header } from "./frames.js";
import type { Instance, Reader } from "./instance.js";
import { outputOf, type Rows } from "./rows.js";
import { isGenerator, Items, type Steps } from "./steps.js";
import { Idle, Out, Unreadable, type Demand, type Split } from "./values.js";

/** One round of new splits; with `again` the next. */
export function* splits(instance: Instance, { header }: Frame): Steps<Answer> {
  if (header.again !== true || instance.rounds === null) {
    instance.rounds = yield* rounds(instance, header);
  }
  const next = yield* instance.rounds.next();
  if (next.done) {
    instance.rounds = null;
    return [{ splits: [], end: true }];
  }
  const [found, position] = next.value;
  return [{ splits: distinct(found).map(splitJson), position: position ?? null }];
}

/** One step of a split: rows or none, and where to resume after them. */
export function* read(instance: Instance, { header }: Frame): Steps<Answer> {
  const split = splitIn(header);
  const told = (header.demand ?? {}) as Partial<Demand>;
  const demand = { rows: told.rows ?? 65536, bytes: told.bytes ?? 8 << 20, seconds: told.seconds ?? 0.1 };
  const underWay = header.anew === true ? undefined : instance.readers.get(split.id);
  const reader = underWay ?? (yield* begun(instance, header, split, demand));
  Object.assign(reader.demand, demand);
  instance.readers.delete(split.id);
  const answer = yield* step(instance, reader);
  if (answer === null) {
    return [{ end: true }];
  }
  instance.readers.set(split.id, reader);
  return answer;
}

/** The host reads this split no further. */
export function* stopReading(instance: Instance, { header }: Frame): Steps<Answer> {
  const id = String(header.split);
  const reader = instance.readers.get(id);
  instance.readers.delete(id);
  yield* reader?.items.end() ?? nothing();
  return [{}];
}

/** Everything up to a position is committed. */
export function* acknowledge(instance: Instance, { header }: Frame): Steps<Answer> {
  const split = splitIn(header);
  yield* instance.call("acknowledge", [word(header, "position")], { split });
  return [{}];
}

/** Children that take over the rest of a split. */
export function* divide(instance: Instance, { header }: Frame): Steps<Answer> {
  const split = splitIn(header);
  const position = yield* positionIn(instance, header);
  const children = ((yield* instance.call("divide", [position], { split })) ?? []) as readonly Split[];
  return [{ splits: distinct(children).map(splitJson) }];
}

function* rounds(instance: Instance, header: Header): Steps<Items<readonly [readonly Split[], unknown]>> {
  if (!instance.has("splits")) {
    return new Items([[[{ id: "all" }], null] as const]);
  }
  const finished = new Set((header.finished ?? []) as string[]);
  const found = yield* instance.call("splits", [header.position ?? null], { finished });
  return isGenerator(found)
    ? new Items(found as Iterable<readonly [readonly Split[], unknown]>)
    : new Items([[(found ?? []) as readonly Split[], null] as const]);
}

function* begun(instance: Instance, header: Header, split: Split, demand: Demand): Steps<Reader> {
  yield* instance.readers.get(split.id)?.items.end() ?? nothing();
  const columns = header.columns;
  const live = { ...demand };
  const more = { split, demand: live, columns: Array.isArray(columns) ? new Set(columns as string[]) : null };
  const given = yield* instance.call("read", [yield* positionIn(instance, header)], more);
  return { items: new Items(isGenerator(given) ? given : [given ?? []]), demand: live };
}

/** The position in a header, or the start. */
function* positionIn(instance: Instance, header: Header): Steps<unknown> {
  const { start } = instance.spec;
  if ("position" in header && header.position !== null) {
    return header.position;
  }
  return typeof start === "function" ? yield* instance.call("start" as "read") : start;
}

function* step(instance: Instance, { items }: Reader): Steps<Answer | null> {
  const refused: Header[] = [];
  for (;;) {
    const next = yield* items.next();
    if (next.done) {
      return refused.length === 0 ? null : [{ idle: true, after: 0, refused }];
    }
    if (!(next.value instanceof Unreadable)) {
      const [header, parts] = given(instance, next.value);
      return [refused.length === 0 ? header : { ...header, refused }, parts ?? []];
    }
    const { code, message, place, raw } = next.value;
    refused.push({ code, message, place, raw });
  }
}

function given(instance: Instance, item: unknown): Answer {
  if (item instanceof Idle) {
    return [{ ...at(item.position), idle: true, after: item.after }];
  }
  const [rows, position] = isPair(item) ? item : [item, undefined];
  const [name, listed] = rows instanceof Out ? [rows.name, rows.rows] : ["", rows];
  if (!Array.isArray(listed)) {
    const cause = `it is ${typeof listed}`;
    const fix = "yield rows, [rows, position], idle(...), out(stream, rows), [out(...), position] or unreadable(...)";
    throw new ConfigError("source.yield", "a source cannot give this", { cause, fix });
  }
  if (listed.length === 0) {
    return [{ ...at(position), idle: true, after: 0 }];
  }
  const parts: Uint8Array[] = [];
  const output = outputOf(name, listed as Rows, instance.outputs.get(name), parts);
  return [{ ...at(position), outputs: [output] }, parts];
}

function isPair(item: unknown): item is readonly [unknown, unknown] {
  return Array.isArray(item) && item.length === 2 && (Array.isArray(item[0]) || item[0] instanceof Out);
}

function at(position: unknown): Header {
  return position === undefined || position === null ? {} : { position };
}

function splitIn(header: Header): Split {
  return word(header, "split") as Split;
}

function splitJson({ id, data = null, start = null, after = [], size = null }: Split): Header {
  return { id, data, start, after, size };
}

function distinct(found: readonly Split[]): readonly Split[] {
  const seen = new Set<string>();
  for (const { id } of found) {
    if (typeof id !== "string" || id === "" || seen.has(id)) {
      const message = seen.has(id) ? `two splits have the id \`${id}\`` : "a split needs a text as id";
      throw new ConfigError("source.splits", message, { fix: "name the thing read, each once" });
    }
    seen.add(id);
  }
  return found;
}

// eslint-disable-next-line require-yield -- what to wait for where there is nothing to end
function* nothing(): Steps<void> {
  return undefined;
}
