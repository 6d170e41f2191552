/** A component on a bench: opened, called and closed as a host does, with everything in memory. */

import type { Component } from "../component.js";
import { dashed } from "../describe.js";
import { errorOf } from "../errors.js";
import { pack, unpack, type Frame, type Header } from "../frames.js";
import { serve, type Handle } from "../guest.js";
import { partOf, type Row, type Rows } from "../rows.js";
import { Schema } from "../schema.js";
import type { TObject } from "../t.js";
import { toText } from "../text.js";
import type { Json, Split } from "../values.js";
import { columnsOf } from "./columns.js";
import { MemoryHost, type HostOptions } from "./memory.js";

/** How a component is opened. */
export interface BenchOptions extends HostOptions {
  config?: Record<string, unknown>;
  /** The columns of the input; without, those of the first rows that are fed. */
  columns?: TObject;
  /** What `ctx` says: `id`, `flow`, `step`, `lane`, `fence`, `incarnation`. */
  context?: Record<string, Json>;
  resume?: Record<string, Json>;
  /** What another instance of a component with a snapshot of its own has left. */
  snapshot?: Uint8Array;
}

/** A refused row: its number in the batch, and why. */
export interface Rejected {
  row: number;
  code: string;
  message: string;
}

/** What one call of a processor gave. */
export interface Processed {
  /** Of the main output. */
  rows: Row[];
  /** Of the other outputs, by name. */
  outputs: Record<string, Row[]>;
  rejects: Rejected[];
}

/** One step of reading. */
export interface Step {
  rows: Row[];
  stream: string;
  /** Undefined: there is no resume point after these rows. */
  position: Json | undefined;
  idle: boolean;
  after: number | null;
  unreadable: { code: string; message: string; place: Json }[];
}

/** A component under test. Errors of the component are thrown as the host gets them: with `code` and `problems`. */
export class Bench {
  readonly host: MemoryHost;
  readonly #component: Component;
  readonly #handle: Handle;
  readonly #options: BenchOptions;
  #opened = false;

  constructor(component: Component, options: BenchOptions = {}) {
    this.host = new MemoryHost(options);
    this.#component = component;
    this.#handle = serve({ subject: component });
    this.#options = options;
  }

  /** What it says of itself. */
  async describe(): Promise<Header> {
    const { header } = await this.#asked({ op: "describe" });
    return (header.components as Header[])[0] ?? {};
  }

  /** The problems that its `check` finds. */
  async check(): Promise<Header[]> {
    return (await this.#asked({ op: "check", ...this.#words() })).header.problems as Header[];
  }

  /** The output's schemas for an input of these columns; null where only rows tell. */
  async plan(columns: TObject): Promise<Record<string, { columns: unknown[] }> | null> {
    const schemas = { "": Schema.of(columns) };
    const { header } = await this.#asked({ op: "plan", schemas, ...this.#words() });
    return header.schemas as Record<string, { columns: unknown[] }> | null;
  }

  /** Give a processor a batch. */
  async feed(rows: Rows, more: { input?: string; clock?: Date; seed?: string } = {}): Promise<Processed> {
    await this.#open(rows);
    const { clock, ...words } = more;
    const moment = clock === undefined ? words : { ...words, clock: clock.toISOString() };
    return processed(await this.ask("process", { part: 0, ...moment }, [partOf(rows, undefined)]));
  }

  /** Move event time: timers that are due are called first, in their order. */
  async watermark(time: Date): Promise<Processed> {
    await this.#open([]);
    const due = this.host.timers
      .filter(({ at, event }) => event && at <= time)
      .sort((a, b) => Number(a.at) - Number(b.at));
    const made: Processed[] = [];
    for (const timer of due) {
      this.host.timers = this.host.timers.filter((other) => other !== timer);
      const words = { part: 0, time: timer.at.toISOString() };
      made.push(processed(await this.ask("timer", words, [partOf([timer.key], undefined)])));
    }
    made.push(processed(await this.ask("watermark", { time: time.toISOString() })));
    return merged(made);
  }

  /** End the input. */
  async finish(): Promise<Processed> {
    await this.#open([]);
    return processed(await this.ask("finish"));
  }

  /** What it would leave for another instance; undefined for one without a snapshot of its own. */
  async snapshot(): Promise<Uint8Array | undefined> {
    await this.#open([]);
    return (await this.ask("snapshot")).parts[0]?.slice();
  }

  /** All rounds of splits. */
  async splits(position: Json = null, finished: readonly string[] = []): Promise<Split[]> {
    await this.#open([]);
    const found: Split[] = [];
    for (let again = false; ; again = true) {
      const { header } = await this.ask("splits", { position, finished, again });
      if (header.end === true) {
        return found;
      }
      found.push(...(header.splits as Split[]));
    }
  }

  /** The steps of a split, up to its end or to the first `idle`. */
  async read(split: Split = { id: "all" }, position?: Json): Promise<Step[]> {
    await this.#open([]);
    const steps: Step[] = [];
    for (let anew = true; ; anew = false) {
      const answer = await this.ask("read", { split, anew, ...(position !== undefined && { position }) });
      const { header } = answer;
      if (header.end === true) {
        return steps;
      }
      steps.push({
        rows: rowsAt(answer, 0),
        stream: ((header.outputs as { name: string }[] | undefined) ?? [])[0]?.name ?? "",
        position: header.position as Json | undefined,
        idle: header.idle === true,
        after: (header.after as number | undefined) ?? null,
        unreadable: (header.refused as Step["unreadable"] | undefined) ?? [],
      });
      if (header.idle === true && header.after !== 0) {
        await this.ask("stop_reading", { split: split.id });
        return steps;
      }
    }
  }

  /** Let a sink begin, write and prepare an epoch: its token, and the rows it refused. */
  async prepare(epoch: number, rows: Rows, last = false): Promise<{ token: Json; rejects: Rejected[] }> {
    await this.#open(rows);
    await this.ask("begin", { epoch });
    const written = await this.ask("write", { part: 0, epoch }, [partOf(rows, undefined)]);
    const { header } = await this.ask("prepare", { epoch, last });
    return { token: header.token as Json, rejects: rejectsIn(written) };
  }

  /** Let a sink publish. */
  async commit(epoch: number, ...tokens: Json[]): Promise<void> {
    await this.#open([]);
    await this.ask("commit", { epoch, tokens });
  }

  /** Let a sink undo what it prepared. */
  async abort(epoch: number, ...tokens: Json[]): Promise<void> {
    await this.#open([]);
    await this.ask("abort", { epoch, tokens });
  }

  /** What the target of a sink holds. */
  async readback(stream = ""): Promise<Row[]> {
    await this.#open([]);
    const rows: Row[] = [];
    let answer = await this.ask("readback", { stream });
    while (answer.header.more === true) {
      rows.push(...rowsAt(answer, 0));
      answer = await this.#asked({ op: "continue" });
    }
    return rows;
  }

  /** The answer of a tool; its progress is added to `told`. */
  async call(input: Record<string, unknown>, told: unknown[] = []): Promise<unknown> {
    let output: unknown;
    let { header } = await this.#asked({ op: "call", input, ...this.#words() });
    while (header.more === true) {
      if ("progress" in header) {
        told.push(header.progress);
      } else {
        output = header.output;
      }
      header = (await this.#asked({ op: "continue" })).header;
    }
    return output;
  }

  /** Any operation of the guest protocol on the open instance. */
  async ask(op: string, words: Header = {}, parts: readonly Uint8Array[] = []): Promise<Frame> {
    await this.#open([]);
    return this.#asked({ op, instance: 1, ...words }, parts);
  }

  /** Close it. */
  async close(): Promise<void> {
    if (this.#opened) {
      this.#opened = false;
      await this.#asked({ op: "close", instance: 1 });
    }
  }

  async #open(rows: Rows): Promise<void> {
    if (this.#opened) {
      return;
    }
    const { columns, resume = {}, snapshot } = this.#options;
    const taking = this.#component.kind === "processor" || this.#component.kind === "sink";
    const schemas = taking ? { "": columns === undefined ? columnsOf(rows) : Schema.of(columns) } : {};
    await this.#asked({ op: "open", instance: 1, encoding: "json", schemas, resume, ...this.#words() });
    this.#opened = true;
    if (snapshot !== undefined) {
      await this.#asked({ op: "restore", instance: 1, part: 0, version: 1 }, [snapshot]);
    }
  }

  #words(): Header {
    const { kind, spec } = this.#component;
    const { config = {}, context = {} } = this.#options;
    return { component: `${kind}:${dashed(spec.name ?? "subject")}`, config, context };
  }

  async #asked(header: Header, parts: readonly Uint8Array[] = []): Promise<Frame> {
    const answer = unpack(await this.#handle(pack(header, parts), this.host.call));
    const { error } = answer.header;
    this.host.settle(error === undefined);
    if (error !== undefined) {
      throw errorOf(error);
    }
    return answer;
  }
}

function processed(answer: Frame): Processed {
  const made: Processed = { rows: [], outputs: {}, rejects: rejectsIn(answer) };
  for (const { name, part } of (answer.header.outputs ?? []) as { name: string; part: number }[]) {
    const rows = rowsAt(answer, part);
    if (name === "out") {
      made.rows.push(...rows);
    } else {
      made.outputs[name] = [...(made.outputs[name] ?? []), ...rows];
    }
  }
  return made;
}

function merged(made: readonly Processed[]): Processed {
  const whole: Processed = { rows: [], outputs: {}, rejects: [] };
  for (const { rows, outputs, rejects } of made) {
    whole.rows.push(...rows);
    whole.rejects.push(...rejects);
    for (const [name, more] of Object.entries(outputs)) {
      whole.outputs[name] = [...(whole.outputs[name] ?? []), ...more];
    }
  }
  return whole;
}

function rejectsIn(answer: Frame): Rejected[] {
  const told = (answer.header.rejects ?? []) as { code: string; message: string; part: number }[];
  const found = told.flatMap(({ code, message, part }) => {
    const numbers = new Uint32Array((answer.parts[part] ?? new Uint8Array()).slice().buffer);
    return [...numbers].map((row) => ({ row, code, message }));
  });
  return found.sort((a, b) => a.row - b.row);
}

function rowsAt(answer: Frame, part: number): Row[] {
  const bytes = answer.parts[part];
  return bytes === undefined ? [] : (JSON.parse(toText(bytes)) as Row[]);
}
