/** Positions and state of an older version in today's form: those in a part; a host of contract 1.0 sends one, as `old`. */

import type { Answer } from "./answers.js";
import { partAt, word, type Frame } from "./frames.js";
import type { Instance } from "./instance.js";
import { listIn } from "./rows.js";
import type { Steps } from "./steps.js";
import { toBytes, toText } from "./text.js";

/** Positions of a source. */
export function* migratePosition(instance: Instance, frame: Frame): Steps<Answer> {
  const version = Number(word(frame.header, "version"));
  return yield* takenOver(frame, "position", (old) => instance.call("migratePosition", [old], { version }));
}

/** Values of a state of a processor. */
export function* migrateState(instance: Instance, frame: Frame): Steps<Answer> {
  const more = { version: Number(word(frame.header, "version")), state: String(word(frame.header, "name")) };
  return yield* takenOver(frame, "value", (old) => instance.call("migrateState", [old], more));
}

function* takenOver(frame: Frame, one: string, migrate: (old: unknown) => Steps<unknown>): Steps<Answer> {
  const { header } = frame;
  if ("old" in header) {
    return [{ [one]: (yield* migrate(header.old)) ?? null }];
  }
  const made: unknown[] = [];
  for (const old of listIn(toText(partAt(frame, word(header, "part"))))) {
    made.push((yield* migrate(old)) ?? null);
  }
  return [{ part: 0 }, [toBytes(JSON.stringify(made))]];
}
