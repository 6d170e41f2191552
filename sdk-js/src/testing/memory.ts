/** A host in memory: what a component under test asks, it answers. */

import { failedHeader, PermissionDenied } from "../errors.js";
import { pack, partAt, textOf, unpack, type Frame, type Header } from "../frames.js";
import type { HostCall } from "../host.js";
import { toBytes, toText } from "../text.js";

/** A request that a component sends through the broker. */
export interface HttpRequest {
  method: string;
  url: string;
  headers: Record<string, string>;
  body: string;
}

/** What it is answered: a body that is not text is sent as JSON. */
export interface HttpAnswer {
  status?: number;
  headers?: Record<string, string>;
  body?: unknown;
}

/** What a host has for a component. */
export interface HostOptions {
  /** Secret → value. */
  secrets?: Record<string, string>;
  /** Answers requests; without it none is granted. */
  http?: (request: HttpRequest) => HttpAnswer;
  /** Input → what comes by it, one item a `receive`. */
  inputs?: Record<string, readonly (string | Uint8Array)[]>;
}

/** A timer that a component has set. */
export interface Timer {
  key: Record<string, unknown>;
  at: Date;
  event: boolean;
}

/** Keeps state, timers, log lines and metrics of one component. */
export class MemoryHost {
  /** Log lines as `level: message`. */
  readonly logs: string[] = [];
  readonly metrics: Record<string, number> = {};
  readonly progress: { done: number; total: number | null; note: string }[] = [];
  timers: Timer[] = [];
  checkpoints = 0;
  cancelled = false;
  readonly #states = new Map<string, Map<string, unknown>>();
  #written: (() => void)[] = [];
  readonly #options: HostOptions;
  readonly #inputs: Map<string, (string | Uint8Array)[]>;

  constructor(options: HostOptions = {}) {
    this.#options = options;
    this.#inputs = new Map(Object.entries(options.inputs ?? {}).map(([name, items]) => [name, [...items]]));
  }

  /** Answers a question. */
  readonly call: HostCall = (question) => {
    try {
      const [header, parts] = this.#answer(unpack(question));
      return pack(header, parts);
    } catch (error) {
      return pack(failedHeader(error));
    }
  };

  /** The running call was answered: what it wrote holds from now on. With an error it never happened. */
  settle(ok: boolean): void {
    const written = this.#written;
    this.#written = [];
    if (ok) {
      for (const apply of written) {
        apply();
      }
    }
  }

  /** The values of a state, in the order in which their keys came. */
  state(name: string): unknown[] {
    return [...(this.#states.get(name)?.values() ?? [])];
  }

  #answer(frame: Frame): readonly [Header, Uint8Array[]?] {
    const { header } = frame;
    const name = textOf(header.name);
    switch (header.op) {
      case "state.get":
        return [{ values: (header.keys as string[]).map((key) => this.#states.get(name)?.get(key) ?? null) }];
      case "state.put":
        this.#written.push(() => {
          this.#put(name, header.keys as string[], header.values as unknown[]);
        });
        return [{}];
      case "state.items": {
        const held = [...(this.#states.get(name) ?? [])];
        const first = held.findIndex(([key]) => key === header.after) + 1;
        const page = held.slice(first, first + Number(header.limit ?? held.length));
        const more = first + page.length < held.length ? { next: page.at(-1)?.[0] } : {};
        return [{ keys: page.map(([key]) => key), values: page.map(([, value]) => value), ...more }];
      }
      case "timers.set":
      case "timers.drop":
        this.#timers(frame);
        return [{}];
      case "secret":
        return [{ value: granted(this.#options.secrets?.[name], `the secret \`${name}\``) }];
      case "metric":
        this.metrics[name] = (header.kind === "count" ? (this.metrics[name] ?? 0) : 0) + Number(header.value);
        return [{}];
      case "log":
        this.logs.push(`${textOf(header.level)}: ${textOf(header.message)}`);
        return [{}];
      case "checkpoint":
        this.checkpoints += 1;
        return [{}];
      case "progress":
        this.progress.push(header as unknown as { done: number; total: number | null; note: string });
        return [{}];
      case "cancelled":
        return [{ value: this.cancelled }];
      case "http":
        return this.#http(frame);
      case "input":
        return this.#input(name);
      default:
        return [{}];
    }
  }

  #put(name: string, keys: string[], values: unknown[]): void {
    const held = this.#states.get(name) ?? new Map<string, unknown>();
    this.#states.set(name, held);
    keys.forEach((key, index) => {
      const value = values[index] ?? null;
      if (value === null) {
        held.delete(key);
      } else {
        held.set(key, value);
      }
    });
  }

  #timers(frame: Frame): void {
    const { header } = frame;
    const keys = JSON.parse(toText(partAt(frame, header.part))) as Record<string, unknown>[];
    const texts = new Set(keys.map((key) => JSON.stringify(key)));
    const event = header.event === true;
    const others = this.timers.filter(
      ({ key, event: kind }) => !texts.has(JSON.stringify(key)) || (header.op === "timers.set" && kind !== event),
    );
    const at = (header.at ?? []) as string[];
    const fresh = at.map((time, index) => ({ key: keys[index] ?? {}, at: new Date(time), event }));
    this.timers = [...others, ...fresh];
  }

  #http(frame: Frame): readonly [Header, Uint8Array[]] {
    const { method, url, headers, part } = frame.header;
    const answer = granted(this.#options.http, "http");
    const body = part === undefined ? "" : toText(partAt(frame, part));
    const request = { method: textOf(method), url: textOf(url), headers: headers as Record<string, string>, body };
    const { status = 200, headers: told = {}, body: content = "" } = answer(request);
    const bytes = toBytes(typeof content === "string" ? content : JSON.stringify(content));
    return [{ status, headers: told, part: 0 }, [bytes]];
  }

  #input(name: string): readonly [Header, Uint8Array[]] {
    const item = granted(this.#inputs.get(name), `the input \`${name}\``).shift();
    const bytes = typeof item === "string" ? toBytes(item) : (item ?? new Uint8Array());
    return [{ part: 0, ...(item === undefined && { end: true }) }, [bytes]];
  }
}

function granted<T>(held: T | undefined, what: string): T {
  if (held === undefined) {
    throw new PermissionDenied({ code: "permission.denied", message: `${what} is not granted to this component` });
  }
  return held;
}
