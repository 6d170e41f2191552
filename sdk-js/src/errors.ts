/** What can go wrong, as the host understands it: problems with stable codes, and the two errors that steer it. */

/** Who has to act: the operator (`config`), time (`retry`), nobody (`reject`: rows were refused), the author (`fatal`). */
export type ProblemKind = "config" | "retry" | "reject" | "fatal";

/** One thing that is wrong: a dotted code that never changes, a message for people, where known a cause and a fix. */
export interface Problem {
  code: string;
  message: string;
  kind?: ProblemKind;
  /** JSON pointer into the configuration. */
  pointer?: string | null;
  cause?: string | null;
  fix?: string | null;
  details?: Record<string, unknown>;
}

/** What a problem may say besides its code and message. */
export type ProblemWords = Omit<Problem, "code" | "message" | "kind">;

/** An error that carries one or more problems. */
export class DataflareError extends Error {
  readonly problems: readonly [Problem, ...Problem[]];

  constructor(problem: Problem, ...more: Problem[]) {
    super(problem.message);
    this.problems = [problem, ...more];
  }

  override get name(): string {
    return this.constructor.name;
  }

  /** The code of the first problem. */
  get code(): string {
    return this.problems[0].code;
  }
}

/** The configuration or the input's columns are wrong: nothing starts. */
export class ConfigError extends DataflareError {
  constructor(code: string, message: string, words: ProblemWords = {}) {
    super({ code, message, kind: "config", ...words });
  }
}

/** A component failed for good. */
export class Failed extends DataflareError {
  constructor(code: string, message: string, words: ProblemWords = {}) {
    super({ code, message, kind: "fatal", ...words });
  }
}

/** The grant does not hold what was asked of the host. */
export class PermissionDenied extends DataflareError {}

/** Thrown to refuse the row in hand, or in a batch-wise call the whole batch: it becomes a dead letter. */
export class Reject extends Error {
  readonly code: string;

  constructor(code: string, message = code) {
    super(message);
    this.code = code;
  }
}

/** Thrown to be called again: after so many seconds, or after the engine's back-off. */
export class Retry extends Error {
  readonly after: number | null;
  /** In `write`, a flag for each row of the batch: those that are still to be written. */
  readonly rows: readonly boolean[] | null;

  constructor(after: number | null = null, message = "try again later", rows: readonly boolean[] | null = null) {
    super(message);
    this.after = after;
    this.rows = rows;
  }
}

/** The header of an answer that tells of an error. */
export function failedHeader(error: unknown): Record<string, unknown> {
  if (error instanceof Reject) {
    return { error: { code: error.code, message: error.message, kind: "reject" } };
  }
  if (error instanceof Retry) {
    const told = { error: { code: "step.retry", message: error.message, kind: "retry" }, after: error.after };
    return error.rows === null ? told : { ...told, retry_rows: error.rows };
  }
  if (error instanceof DataflareError) {
    return { error: error.problems[0], problems: error.problems };
  }
  return { error: foreign(error) };
}

/** The error that a host's answer tells of. */
export function errorOf(told: unknown): DataflareError {
  const given = typeof told === "object" && told !== null ? (told as Partial<Problem>) : { message: String(told) };
  const problem: Problem = {
    ...given,
    code: given.code ?? "guest.error",
    message: given.message ?? "",
    kind: given.kind ?? "fatal",
  };
  return problem.code.startsWith("permission.") ? new PermissionDenied(problem) : new DataflareError(problem);
}

/** An error that is none of ours; its stack tells the loader the author's file and line. */
function foreign(error: unknown): Problem {
  if (!(error instanceof Error)) {
    return { code: "step.failed", message: String(error), kind: "fatal", cause: typeof error };
  }
  const stack = error.stack ?? "";
  return {
    code: "step.failed",
    message: error.message || error.name,
    kind: "fatal",
    cause: error.name,
    ...(stack && { details: { stack } }),
  };
}
