/** The host, as one instance sees it: questions go out as frames and are answered before the call goes on. */

import { errorOf } from "./errors.js";
import { pack, unpack, type Frame, type Header } from "./frames.js";

/** Takes a question's frame to the host and gives the answer's. */
export type HostCall = (question: Uint8Array) => Uint8Array;

/** Asks the host in the name of one instance. */
export class Host {
  readonly #call: () => HostCall;
  readonly #instance: number;

  constructor(call: () => HostCall, instance: number) {
    this.#call = call;
    this.#instance = instance;
  }

  /** Ask. Throws what the host refuses with. */
  ask(op: string, words: Header = {}, parts: readonly Uint8Array[] = []): Frame {
    const answer = unpack(this.#call()(pack({ op, instance: this.#instance, ...words }, parts)));
    if (answer.header.error !== undefined) {
      throw errorOf(answer.header.error);
    }
    return answer;
  }
}
