/** What a plugin says of its components: the answer to `describe`. */

import { described } from "./check.js";
import type { Component, Operation, Spec } from "./component.js";
import type { Header } from "./frames.js";
import { t } from "./t.js";

const OPERATIONS: Record<Component["kind"], readonly Operation[]> = {
  source: [
    ...(["check", "discover", "plan", "splits", "read", "divide", "acknowledge", "migratePosition"] as const),
    ...(["onCreated", "onUpdated", "onDeleted"] as const),
  ],
  processor: [
    ...(["check", "plan", "process", "timer", "watermark", "finish", "snapshot", "restore", "migrateState"] as const),
  ],
  sink: [
    ...(["check", "discover", "plan", "begin", "write", "prepare", "commit", "abort", "recover", "readback"] as const),
    ...(["snapshot", "restore", "onCreated", "onUpdated", "onDeleted"] as const),
  ],
  tool: ["check", "call"],
};

/** Abilities with what they are where the author says nothing. */
const ABILITIES: Record<Component["kind"], Readonly<Record<string, unknown>>> = {
  source: {
    replay: undefined,
    stableIds: false,
    ackGated: false,
    acknowledgeWithin: null,
    maxInFlight: null,
    effects: "none",
    deterministic: true,
  },
  processor: {
    by: null,
    outputs: [],
    inputs: null,
    cardinality: "any",
    deterministic: true,
    effects: "none",
    reads: null,
    writes: null,
    clears: [],
  },
  sink: { ability: "append", fencing: "none", commits: "step", shared: "files", clears: [] },
  tool: { effects: "none" },
};

/** What is said of one component. */
export function describe(name: string, { kind, spec }: Component): Header {
  const summary = (spec.doc.trim().split("\n")[0] ?? "").trim();
  return {
    kind,
    name,
    summary,
    doc: spec.doc.trim(),
    aliases: spec.aliases ?? [],
    deprecated: spec.deprecated ?? null,
    version: spec.version ?? 1,
    lanes: spec.lanes ?? null,
    config: described(spec.config ?? t.Object({}), name, summary),
    abilities: abilities(kind, spec),
    operations: OPERATIONS[kind].filter((operation) => isWritten(spec, operation)).map(snake),
    encodings: ["json"],
    ...(kind === "tool" && { input: described(spec.input ?? t.Object({}), name, summary) }),
    ...(kind === "processor" && { states: stateNames(spec) }),
  };
}

/** The states of a processor. */
export function stateNames(spec: Spec): string[] {
  return [...Object.keys(spec.states ?? {}), ...(spec.state === undefined ? [] : ["state"])];
}

/** The name of an export as flows write it: `withVat` and `with_vat` are `with-vat`. */
export function dashed(name: string): string {
  const words = name.replace(/([a-z0-9])([A-Z])/g, "$1-$2").replace(/([A-Z])([A-Z][a-z])/g, "$1-$2");
  return words
    .replace(/[\s_-]+/g, "-")
    .replace(/^-|-$/g, "")
    .toLowerCase();
}

function abilities(kind: Component["kind"], spec: Spec): Header {
  const told = Object.entries(ABILITIES[kind]).map(([name, otherwise]) => [snake(name), spec[name] ?? otherwise]);
  const found = Object.fromEntries(told) as Header;
  return kind === "source"
    ? { ...found, replay: spec.replay ?? (spec.start === undefined ? "none" : "position") }
    : found;
}

function isWritten(spec: Spec, operation: Operation): boolean {
  if (operation === "process") {
    return spec.process !== undefined || spec.each !== undefined;
  }
  return spec[operation] !== undefined || (operation === "plan" && spec.input !== undefined);
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
