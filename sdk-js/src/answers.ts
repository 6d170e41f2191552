/** Answers of operations: one, or several that the host asks for with `continue`. */

import type { Header } from "./frames.js";
import type { Steps } from "./steps.js";

/** An answer: its header and parts. */
export type Answer = readonly [header: Header, parts?: readonly Uint8Array[]];

/** Several answers, one after the other. */
export interface Answers {
  next(): Steps<IteratorResult<Answer>>;
  /** No more of them are wanted. */
  end(): Steps<void>;
}
