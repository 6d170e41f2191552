/** What an author's function may ask of its surroundings: `ctx`, the last argument of each. */

import { partAt, textOf, type Header } from "./frames.js";
import type { Host } from "./host.js";
import { brokered, type Http } from "./http.js";
import { seeded } from "./random.js";
import { hostTimers, type Timers } from "./state.js";
import type { Json } from "./values.js";

/** Log lines, written by the host under the step's name. */
export interface Log {
  debug(message: string): void;
  info(message: string): void;
  warning(message: string): void;
  error(message: string): void;
}

/** Counters and gauges under the step's name. */
export interface Metrics {
  count(name: string, value?: number): void;
  gauge(name: string, value: number): void;
}

/** Secrets that the grant names. */
export interface Secrets {
  /** The value. Throws PermissionDenied where it is not granted. */
  get(name: string): string;
}

/** A host-owned input: UDP, TCP, tty, file. */
export interface ByteStream {
  /** At most `max` bytes; empty after `wait` seconds without any; null at the end. */
  receive(max: number, wait: number): Uint8Array | null;
}

/** What an instance goes on from: the last decided epoch, the live tokens of a sink, what `onCreated` answered. */
export interface Resume {
  epoch: number;
  tokens: Record<string, Json>;
  made: Json;
  incarnation: string;
}

/** The surroundings of one instance, which is one lane: one call at a time. */
export interface Context {
  /** A stable name of this step and lane, for slots and client ids. */
  readonly id: string;
  readonly flow: string;
  readonly step: string;
  readonly lane: number;
  /** The life of the flow's state: another one after a reset. */
  readonly incarnation: string;
  /** The token that keeps a replaced run out. */
  readonly fence: number;
  /** The epoch that rows belong to now. */
  readonly epoch: number;
  /** What this instance goes on from. */
  readonly resume: Resume;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly secrets: Secrets;
  /** The host's HTTP broker. */
  readonly http: Http;
  readonly timers: Timers;
  /** The time the batch was read: the same for every call on the same batch. */
  readonly clock: { now(): Date };
  /** Whether the flow stops: return soon. Asks the host. */
  readonly cancelled: boolean;
  /** A number from 0 to 1 as `Math.random` gives it, the same for the same batch. */
  readonly random: () => number;
  /** A name that no other attempt uses: incarnation, flow, step, lane, epoch and fencing token. */
  name(epoch?: number): string;
  /** Wait until it is this lane's turn at a rate (`"10/s"`) that all lanes share. */
  readonly limit: (name: string, rate: string) => void;
  /** A host-owned input that the grant names. */
  readonly input: (name: string) => ByteStream;
  /** Ask for an epoch now: for a source whose progress waits for acknowledgements. */
  readonly requestCheckpoint: () => void;
  /** Tell how far a long operation is. */
  readonly progress: (done: number, total?: number | null, note?: string) => void;
}

/** The context of an instance, and the function that moves it to the call in hand. */
export interface Surroundings {
  context: Context;
  moment: (header: Header) => void;
}

/** What a header says of the surroundings, with the host behind it. */
export function surroundings(
  host: Host,
  told: Header,
  resume: Header,
  keyColumns: () => readonly string[],
): Surroundings {
  let clock: string | null = null;
  let seed = "";
  let random: (() => number) | null = null;
  const incarnation = textOf(told.incarnation ?? resume.incarnation, "");
  const line = (level: string) => (message: string) => void host.ask("log", { level, message });
  const context = {
    id: textOf(told.id, "local"),
    flow: textOf(told.flow),
    step: textOf(told.step),
    lane: Number(told.lane ?? 0),
    incarnation,
    fence: Number(told.fence ?? 0),
    epoch: Number(told.epoch ?? 0),
    resume: {
      epoch: Number(resume.epoch ?? 0),
      tokens: (resume.tokens ?? {}) as Record<string, Json>,
      made: (resume.made ?? null) as Json,
      incarnation,
    },
    log: { debug: line("debug"), info: line("info"), warning: line("warning"), error: line("error") },
    metrics: {
      count: (name: string, value = 1) => void host.ask("metric", { name, kind: "count", value }),
      gauge: (name: string, value: number) => void host.ask("metric", { name, kind: "gauge", value }),
    },
    secrets: { get: (name: string) => String(host.ask("secret", { name }).header.value) },
    http: brokered(host),
    timers: hostTimers(host, keyColumns),
    clock: { now: () => (clock === null ? new Date() : new Date(clock)) },
    get cancelled() {
      return host.ask("cancelled").header.value === true;
    },
    random: () => (random ??= seeded(seed))(),
    name(this: Context, epoch = this.epoch) {
      return `${incarnation.slice(0, 8)}-${this.flow}-${this.step}-${this.lane}-${epoch}-${this.fence}`;
    },
    limit: (name: string, rate: string) => void host.ask("limit", { name, rate }),
    input: (name: string) => inputOf(host, name),
    requestCheckpoint: () => void host.ask("checkpoint"),
    progress: (done: number, total: number | null = null, note = "") =>
      void host.ask("progress", { done, total, note }),
  };
  return {
    context,
    moment: (header) => {
      context.epoch = Number(header.epoch ?? context.epoch);
      clock = header.clock === undefined ? clock : textOf(header.clock);
      if (header.seed !== undefined) {
        seed = textOf(header.seed);
        random = null;
      }
    },
  };
}

/** The context with more for one call: what is said here, and through it all of the instance's. */
export function withMore<X extends object>(context: Context, more: X): Context & X {
  return Object.assign(Object.create(context) as Context, more);
}

function inputOf(host: Host, name: string): ByteStream {
  return {
    receive(max, wait) {
      const answer = host.ask("input", { name, max, wait });
      const index = answer.header.part;
      const bytes = index === undefined || index === null ? new Uint8Array() : partAt(answer, index).slice();
      return bytes.length === 0 && answer.header.end === true ? null : bytes;
    },
  };
}
