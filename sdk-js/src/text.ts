/** Text and base64 as bytes and back, by what the engine has built in: never a loop over characters where it has it. */

interface Encoder {
  encode(text: string): Uint8Array;
}
interface Decoder {
  decode(bytes: Uint8Array): string;
}
interface Base64Bytes {
  toBase64?(): string;
}
interface Engine {
  TextEncoder?: new () => Encoder;
  TextDecoder?: new () => Decoder;
  Uint8Array: { fromBase64?(text: string): Uint8Array };
  atob?(text: string): string;
  btoa?(bytes: string): string;
  escape(text: string): string;
  unescape(text: string): string;
}

const engine = globalThis as unknown as Engine;
const CHUNK = 8192;
const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

let encoder: Encoder | undefined;
let decoder: Decoder | undefined;

/** UTF-8 of a text. */
export function toBytes(text: string): Uint8Array {
  encoder ??= engine.TextEncoder ? new engine.TextEncoder() : byEscapes;
  return encoder.encode(text);
}

/** The text in UTF-8 bytes. */
export function toText(bytes: Uint8Array): string {
  decoder ??= engine.TextDecoder ? new engine.TextDecoder() : byEscapes;
  return decoder.decode(bytes);
}

/** Bytes as base64. */
export function toBase64(bytes: Uint8Array): string {
  const native = (bytes as Base64Bytes).toBase64?.();
  if (native !== undefined) {
    return native;
  }
  return engine.btoa ? engine.btoa(latin(bytes)) : slowBase64(bytes);
}

/** The bytes in a base64 text. */
export function fromBase64(text: string): Uint8Array {
  if (engine.Uint8Array.fromBase64) {
    return engine.Uint8Array.fromBase64(text);
  }
  return engine.atob ? unLatin(engine.atob(text)) : slowBytes(text);
}

/** For an engine without TextEncoder: the built-in escapes do the work. */
const byEscapes: Encoder & Decoder = {
  encode: (text) => unLatin(engine.unescape(encodeURIComponent(text))),
  decode: (bytes) => decodeURIComponent(engine.escape(latin(bytes))),
};

/** A text with one character a byte. */
function latin(bytes: Uint8Array): string {
  if (bytes.length <= CHUNK) {
    return String.fromCharCode.apply(null, bytes as unknown as number[]);
  }
  const pieces: string[] = [];
  for (let at = 0; at < bytes.length; at += CHUNK) {
    pieces.push(latin(bytes.subarray(at, at + CHUNK)));
  }
  return pieces.join("");
}

function unLatin(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function slowBase64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 3) {
    const left = bytes.length - at;
    const bits = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    text += DIGITS.charAt(bits >> 18) + DIGITS.charAt((bits >> 12) & 63);
    text += left > 1 ? DIGITS.charAt((bits >> 6) & 63) : "=";
    text += left > 2 ? DIGITS.charAt(bits & 63) : "=";
  }
  return text;
}

function slowBytes(text: string): Uint8Array {
  const digits = text.replace(/=+$/, "");
  const bytes = new Uint8Array((digits.length * 3) >> 2);
  let bits = 0;
  for (let at = 0, end = 0; at < digits.length; at += 1) {
    bits = (bits << 6) | DIGITS.indexOf(digits.charAt(at));
    if (at % 4 !== 0) {
      bytes[end] = bits >> (6 - (at % 4) * 2);
      end += 1;
    }
  }
  return bytes;
}
