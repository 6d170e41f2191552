/** A plugin as a guest: answers the host's frames by its components. */

import type { Answer, Answers } from "./answers.js";
import { Component, type Kind } from "./component.js";
import { dashed, describe } from "./describe.js";
import { ConfigError, Failed, failedHeader } from "./errors.js";
import { pack, textOf, unpack, type Frame, type Header } from "./frames.js";
import { Host, type HostCall } from "./host.js";
import { Instance } from "./instance.js";
import * as migrating from "./migrating.js";
import * as processors from "./processors.js";
import { teachJson } from "./rows.js";
import { Schema, schemasIn } from "./schema.js";
import * as sinks from "./sinks.js";
import * as sources from "./sources.js";
import { run, type Steps } from "./steps.js";
import { toolAnswers } from "./tools.js";
import type { Json, Stream } from "./values.js";

/** Answers a request: the file of a bundled plugin exports it as `handle`. */
export type Handle = (request: Uint8Array, hostCall: HostCall) => Uint8Array | Promise<Uint8Array>;

type Given = Answer | Answers;
type Operation = (instance: Instance, frame: Frame) => Steps<Given>;

const PROTOCOL = 1;
/** The versions of the plugin contract that are spoken here, the newest last. */
const MINORS = ["1.0", "1.1"];
const SDK = "@dataflare/sdk 1.0.0";

/** The components of a plugin's module (or of an object), answering frames. */
export function serve(components: Record<string, unknown>): Handle {
  const guest = new Guest(components);
  return (request, hostCall) => guest.handle(request, hostCall);
}

class Guest {
  readonly #components = new Map<string, { name: string; component: Component }>();
  readonly #instances = new Map<number, Instance>();
  #rest: Answers | null = null;
  #hostCall: HostCall = noHost;

  constructor(components: Record<string, unknown>) {
    teachJson();
    for (const [exported, component] of Object.entries(components)) {
      if (component instanceof Component) {
        const name = dashed(component.spec.name ?? exported);
        this.#components.set(`${component.kind}:${name}`, { name, component });
      }
    }
  }

  handle(request: Uint8Array, hostCall: HostCall): Uint8Array | Promise<Uint8Array> {
    this.#hostCall = hostCall;
    try {
      const answered = run(this.#answer(unpack(request)));
      return answered instanceof Promise ? answered.then(packed, failed) : packed(answered);
    } catch (error) {
      return failed(error);
    }
  }

  *#answer(frame: Frame): Steps<Answer> {
    const op = String(frame.header.op);
    if (op !== "continue" && this.#rest !== null) {
      const rest = this.#rest;
      this.#rest = null;
      yield* rest.end();
    }
    const given = yield* this.#called(op, frame);
    if (!("next" in given)) {
      return given;
    }
    this.#rest = given;
    return yield* this.#continued();
  }

  *#called(op: string, frame: Frame): Steps<Given> {
    switch (op) {
      case "describe":
        return [{ protocol: PROTOCOL, api: MINORS, sdk: SDK, encodings: ["json"], components: this.#described() }];
      case "open":
        return yield* this.#open(frame.header);
      case "close":
        return yield* this.#close(frame.header);
      case "check":
        return [{ problems: (yield* this.#passing(frame.header).call("check")) ?? [] }];
      case "discover":
        return yield* this.#discover(frame.header);
      case "plan":
        return yield* this.#plan(frame.header);
      case "call":
        return yield* this.#tool(frame.header);
      case "continue":
        return yield* this.#continued();
      default:
        return yield* this.#operation(op, frame);
    }
  }

  *#continued(): Steps<Answer> {
    if (this.#rest === null) {
      throw new ConfigError("guest.nothing_more", "there is nothing to continue");
    }
    const next = yield* this.#rest.next();
    if (next.done) {
      this.#rest = null;
      return [{}];
    }
    const [header, parts] = next.value;
    return [{ ...header, more: true }, parts ?? []];
  }

  *#operation(op: string, frame: Frame): Steps<Given> {
    const [kinds, operation] = OPERATIONS[op] ?? [];
    if (kinds === undefined || operation === undefined) {
      const details = { protocol: PROTOCOL };
      throw new ConfigError("guest.unknown_operation", `there is no operation \`${op}\``, { details });
    }
    const passing = BEFORE_OPEN.has(op) && !("instance" in frame.header);
    const instance = passing ? this.#passing(frame.header) : this.#instance(frame.header);
    if (!kinds.includes(instance.component.kind)) {
      throw instance.notIts();
    }
    return yield* operation(instance, frame);
  }

  *#open(header: Header): Steps<Answer> {
    const number = header.instance;
    if (typeof number !== "number" || this.#instances.has(number)) {
      throw new ConfigError("guest.instance", `\`${String(number)}\` is not the number of a new instance`);
    }
    const encoding = header.encoding ?? "json";
    if (encoding !== "json") {
      const message = `\`${JSON.stringify(encoding)}\` is not an encoding of this plugin`;
      throw new ConfigError("guest.encoding", message, { fix: "json" });
    }
    const instance = this.#configured(header, number);
    const inputs = schemasIn(header.schemas);
    if (inputs.size > 0 || instance.component.kind === "source") {
      yield* instance.plan(inputs);
    }
    yield* instance.open();
    this.#instances.set(number, instance);
    return [{}];
  }

  *#close(header: Header): Steps<Answer> {
    const instance = this.#instance(header);
    this.#instances.delete(header.instance as number);
    yield* instance.close();
    return [{}];
  }

  *#discover(header: Header): Steps<Answer> {
    const found = ((yield* this.#passing(header).call("discover")) ?? []) as readonly Stream[];
    const streams = found.map(({ name, schema = null, key = [], cursor = null }) => ({ name, schema, key, cursor }));
    return [{ streams }];
  }

  *#plan(header: Header): Steps<Answer> {
    const instance = "instance" in header ? this.#instance(header) : this.#passing(header);
    const planned = yield* instance.plan(schemasIn(header.schemas));
    const known = instance.component.kind === "sink" ? new Map<string, Schema>() : planned;
    return [{ schemas: known === null ? null : Object.fromEntries(known) }];
  }

  *#tool(header: Header): Steps<Given> {
    const instance = this.#passing(header);
    if (instance.component.kind !== "tool") {
      throw new ConfigError("guest.not_a_tool", `\`${instance.name}\` is not a tool`);
    }
    return yield* toolAnswers(instance, header.input);
  }

  #described(): Header[] {
    return [...this.#components.values()].map(({ name, component }) => describe(name, component));
  }

  #instance(header: Header): Instance {
    const found = this.#instances.get(header.instance as number);
    if (found === undefined) {
      throw new ConfigError("guest.instance", `there is no open instance \`${String(header.instance)}\``);
    }
    return found;
  }

  /** An instance for one question, never opened. */
  #passing(header: Header): Instance {
    return this.#configured(header, -1);
  }

  #configured(header: Header, number: number): Instance {
    const wanted = textOf(header.component);
    const found = this.#components.get(wanted);
    if (found === undefined) {
      const have = [...this.#components.keys()].map((known) => `\`${known}\``).join(", ");
      throw new ConfigError("guest.unknown_component", `there is no \`${wanted}\` here`, { cause: `there is ${have}` });
    }
    return new Instance(found.component, found.name, header, new Host(() => this.#hostCall, number));
  }
}

const OPERATIONS: Record<string, readonly [readonly Kind[], Operation]> = {
  splits: [["source"], sources.splits],
  read: [["source"], sources.read],
  stop_reading: [["source"], sources.stopReading],
  acknowledge: [["source"], sources.acknowledge],
  divide: [["source"], sources.divide],
  migrate_position: [["source"], migrating.migratePosition],
  process: [["processor"], processors.process],
  timer: [["processor"], processors.timer],
  watermark: [["processor"], processors.watermark],
  finish: [["processor"], processors.finish],
  migrate_state: [["processor"], migrating.migrateState],
  snapshot: [["processor", "sink"], processors.snapshot],
  restore: [["processor", "sink"], processors.restore],
  begin: [["sink"], sinks.begin],
  write: [["sink"], sinks.write],
  prepare: [["sink"], sinks.prepare],
  commit: [["sink"], sinks.commit],
  abort: [["sink"], sinks.abort],
  recover: [["sink"], sinks.recover],
  readback: [["sink"], sinks.readback],
  on_created: [["source", "sink"], onCreated],
  on_updated: [["source", "sink"], onUpdated],
  on_deleted: [["source", "sink"], onDeleted],
};

/** What may also be asked of a component that is not open. */
const BEFORE_OPEN = new Set(["migrate_position", "migrate_state", "on_created", "on_updated", "on_deleted"]);

function* onCreated(instance: Instance): Steps<Answer> {
  return [{ made: (yield* instance.call("onCreated")) ?? null }];
}

function* onUpdated(instance: Instance, { header }: Frame): Steps<Answer> {
  const made = (header.made ?? null) as Json;
  const before = header.before ?? {};
  return [
    { made: instance.has("onUpdated") ? ((yield* instance.call("onUpdated", [made], { before })) ?? null) : made },
  ];
}

function* onDeleted(instance: Instance, { header }: Frame): Steps<Answer> {
  yield* instance.call("onDeleted", [header.made ?? null]);
  return [{}];
}

function packed([header, parts]: Answer): Uint8Array {
  try {
    return pack(header, parts ?? []);
  } catch (error) {
    return failed(error);
  }
}

function failed(error: unknown): Uint8Array {
  return pack(failedHeader(error));
}

function noHost(): Uint8Array {
  throw new Failed("guest.no_host", "nobody answers questions here");
}
