// What a plugin finds around it in either engine, beyond the language itself: a clock, randomness, a console and UTF-8
// that work. Evaluated before the plugin; `host` are the functions of world.wit, and is seen by nobody else.
"use strict";
const own = (name, value) =>
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });

// A script in a sandbox cannot wait, listen or dial; a name that is missing says so at once, one that traps does not.
const impossible = [
  "setTimeout", "setInterval", "clearTimeout", "clearInterval", "fetch", "Request", "Response", "Headers", "location",
  "WorkerLocation", "addEventListener", "removeEventListener", "dispatchEvent", "Crypto", "CryptoKey", "SubtleCrypto",
  "Performance",
];
for (const name of impossible) delete globalThis[name];
if (globalThis.AbortSignal) delete AbortSignal.timeout;

const RealDate = Date;
const now = () => Math.floor(host.now());
function HostDate(...given) {
  if (!new.target) return new RealDate(now()).toString();
  return Reflect.construct(RealDate, given.length ? given : [now()], new.target === HostDate ? RealDate : new.target);
}
Object.defineProperty(HostDate, "name", { value: "Date" });
Object.defineProperty(HostDate, "length", { value: 7 });
HostDate.prototype = RealDate.prototype;
HostDate.prototype.constructor = HostDate;
HostDate.now = now;
HostDate.parse = RealDate.parse;
HostDate.UTC = RealDate.UTC;
own("Date", HostDate);
const started = host.now();
own("performance", { timeOrigin: started, now: () => host.now() - started });

let numbers = new Uint32Array(0);
let used = 0;
Math.random = () => {
  if (used + 2 > numbers.length) {
    numbers = new Uint32Array(host.random(4096).buffer);
    used = 0;
  }
  return ((numbers[used++] >>> 5) * 67108864 + (numbers[used++] >>> 6)) / 9007199254740992;
};
const getRandomValues = (array) => {
  if (!ArrayBuffer.isView(array) || array instanceof DataView || /^Float/.test(array[Symbol.toStringTag]))
    throw new TypeError("getRandomValues fills an array of integers");
  if (array.byteLength > 65536) throw new RangeError("getRandomValues fills at most 65,536 bytes");
  if (array.byteLength) new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(host.random(array.byteLength));
  return array;
};
const randomUUID = () => {
  const bytes = getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const text = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [0, 8, 12, 16, 20].map((at, i, all) => text.slice(at, all[i + 1])).join("-");
};
own("crypto", { getRandomValues, randomUUID });

if (!globalThis.TextEncoder) {
  const bytesOf = (given) => {
    if (given instanceof Uint8Array) return given;
    if (ArrayBuffer.isView(given)) return new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
    return new Uint8Array(given ?? 0);
  };
  own("TextEncoder", class TextEncoder {
    get encoding() {
      return "utf-8";
    }
    encode(text = "") {
      return host.encode(String(text).toWellFormed());
    }
  });
  own("TextDecoder", class TextDecoder {
    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
      if (!/^\s*(unicode-1-1-)?utf-?8\s*$/i.test(label)) throw new RangeError(`the small engine decodes utf-8, not ${label}`);
      Object.assign(this, { encoding: "utf-8", fatal, ignoreBOM });
    }
    decode(given, { stream = false } = {}) {
      if (stream) throw new TypeError("the small engine decodes whole texts");
      const bytes = bytesOf(given);
      const text = host.decode(bytes);
      if (this.fatal && text.includes("\ufffd")) {
        const again = host.encode(text);
        if (again.length !== bytes.length || again.some((byte, i) => byte !== bytes[i]))
          throw new TypeError("these bytes are not UTF-8");
      }
      return !this.ignoreBOM && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
    }
  });
}

const encoder = new TextEncoder();
const authors = (stack) => stack.split("\n").filter((line) => !/(starling|prelude|initializer|dataflare-sdk)\.js:\d+/.test(line)).join("\n");
const told = (value) => {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value}\n${authors(String(value.stack))}`.trim();
  try {
    return (typeof value === "object" && JSON.stringify(value)) || String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
};
const LONGEST = 8192;
const level = (number) => (...given) => host.log(number, encoder.encode(given.map(told).join(" ").slice(0, LONGEST)));
const [debug, info, warn, error] = [0, 1, 2, 3].map(level);
own("console", {
  debug, info, warn, error,
  log: info,
  dir: (value) => info(value),
  trace: (...given) => debug(...given, authors(new Error().stack)),
  assert: (holds, ...given) => holds || error("assertion failed", ...given),
});
