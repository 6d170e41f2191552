/** Plugins for DataFlare: sources, processors, sinks and tools. */

export { Component, processor, sink, source, tool } from "./component.js";
export type {
  Ability,
  Given,
  Kind,
  Made,
  ProcessorSpec,
  Result,
  SinkSpec,
  SourceSpec,
  States,
  ToolSpec,
} from "./component.js";
export type { ByteStream, Context, Log, Metrics, Resume, Secrets } from "./context.js";
export { ConfigError, DataflareError, Failed, PermissionDenied, Reject, Retry, type Problem } from "./errors.js";
export { serve, type Handle } from "./guest.js";
export type { HostCall } from "./host.js";
export { HttpResponse, type Http, type RequestOptions } from "./http.js";
export type { Row, Rows } from "./rows.js";
export { Schema, type Column } from "./schema.js";
export type { KeyState, Timers } from "./state.js";
export { t, type FieldOptions, type Static, type TObject, type TSchema } from "./t.js";
export { fromBase64, toBase64, toBytes, toText } from "./text.js";
export {
  Batch,
  idle,
  Idle,
  out,
  Out,
  reject,
  Refusal,
  unreadable,
  Unreadable,
  type Demand,
  type Gen,
  type Json,
  type May,
  type Split,
  type Stream,
} from "./values.js";
