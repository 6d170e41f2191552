// The large JavaScript engine's side of world.wit, evaluated when the engine is built.
import { ask, now, random, log, waiting } from "dataflare:engine/host";

const decoder = new TextDecoder();
const encoder = new TextEncoder();
const evaluate = eval;
const module = { exports: {} };
/** What the glue gives is of another realm than the plugin: this is an array that it knows as its own. */
const own = (array) => new Uint8Array(array);
const asking = (question) => {
  if (question instanceof Uint8Array) return own(ask(question));
  throw new TypeError("a question is a Uint8Array");
};
const host = { ask: asking, now, random: (size) => own(random(size)), log };

const sdks = Object.create(null);
Object.defineProperty(globalThis, Symbol.for("dataflare.sdks"), { value: sdks });

/** Keep the SDK that has this key for the plugins that were bundled with the same one. */
function keep(key, sdk) {
  const made = { exports: {} };
  sdk(made, made.exports);
  sdks[key] = made.exports;
}

/** What the generated glue gives as the error of a result: anything else that is thrown would trap. */
function failed(error, place = "") {
  let text = "an error that cannot be told";
  try {
    text = String(error) + place;
    if (error instanceof Error) text += `\n${error.stack}`;
  } catch {}
  return Object.assign(new Error(), { payload: encoder.encode(text) });
}

/** Evaluates a script whose value is a function, and calls it with (module, exports, host). */
export function load(name, script) {
  const file = decoder.decode(name);
  let call;
  try {
    call = evaluate(`${decoder.decode(script)}\n//# sourceURL=${file}`);
  } catch (error) {
    throw failed(error, `\n@${file}:${error.lineNumber}:${error.columnNumber}`);
  }
  try {
    call(module, module.exports, host);
    return new Uint8Array(0);
  } catch (error) {
    throw failed(error);
  }
}

/** What `module.exports.handle` answers to a request. A promise that never settles traps, so the host is told first. */
export async function invoke(request) {
  try {
    let answer = module.exports.handle(own(request), asking);
    if (answer instanceof Promise) {
      waiting(true);
      answer = await answer;
      waiting(false);
    }
    if (answer instanceof Uint8Array) return answer;
    throw new TypeError("`handle` must return a Uint8Array or a promise of one");
  } catch (error) {
    throw failed(error);
  }
}
