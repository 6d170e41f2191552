/** The canonical bytes of one value of a key, by the type of its column; `keys.ts` says how they are laid out. */

import { ConfigError } from "./errors.js";
import { isFloating } from "./schema.js";
import { fromBase64, toBytes } from "./text.js";

/** The bytes of a value that is not null. */
export type Encode = (value: unknown) => Uint8Array;

/** The bytes of null. */
export const NULL = Uint8Array.of(0);

const MOST = 2n ** 63n;
const DAY = 86_400_000;
const BILLION = 1_000_000_000n;

/** How the values of an Arrow type are encoded; null: they cannot be keys. */
export function encodeOf(type: string): Encode | null {
  return byType(bare(type));
}

/** The type of the values behind a dictionary: `dictionary<values=string, indices=int32, ordered=0>` → `string`. */
function bare(type: string): string {
  const found = /^dictionary<(?:values=)?([^,>]+(?:\([^)]*\)|\[[^\]]*\])?)/.exec(type);
  return found?.[1] ?? type;
}

function byType(type: string): Encode | null {
  if (/^u?int\d+$/.test(type)) return integer;
  if (isFloating(type)) return floating;
  if (type === "bool") return (value) => Uint8Array.of(1, value === true ? 1 : 0);
  if (type.startsWith("decimal")) return decimal;
  if (/^(large_)?(string|utf8)(_view)?$/.test(type)) return (value) => sized(6, toBytes(String(value)));
  if (/^(large_|fixed_size_)?binary/.test(type)) return binary;
  if (type.startsWith("date")) return date;
  if (type.startsWith("timestamp")) return type.includes(",") ? utc : local;
  if (type.startsWith("time")) return timeOfDay;
  if (type.startsWith("duration")) return duration;
  return type === "null" ? none : null;
}

/** By the value alone, where nothing was announced. */
export function guessed(value: unknown): Uint8Array {
  if (typeof value === "boolean") return Uint8Array.of(1, value ? 1 : 0);
  if (typeof value === "bigint") return integer(value);
  if (typeof value === "number") return Number.isInteger(value) ? integer(value) : floating(value);
  if (value instanceof Date) return utc(value);
  if (value instanceof Uint8Array) return sized(7, value);
  if (typeof value === "string") return sized(6, toBytes(value));
  throw new ConfigError("keys.type", "a list or an object cannot be a key");
}

function none(): Uint8Array {
  return NULL;
}

function integer(value: unknown): Uint8Array {
  const number = BigInt(value as number | string | bigint);
  return fixed(number < MOST ? 2 : 3, number);
}

function floating(value: unknown): Uint8Array {
  const number = Number(value);
  const bytes = new Uint8Array(9);
  bytes[0] = 4;
  if (Number.isNaN(number)) {
    bytes.set([0xf8, 0x7f], 7);
  } else {
    new DataView(bytes.buffer).setFloat64(1, number + 0, true);
  }
  return bytes;
}

function decimal(value: unknown): Uint8Array {
  const text = String(value);
  return sized(5, toBytes(text.includes(".") ? text.replace(/\.?0+$/, "") : text));
}

function binary(value: unknown): Uint8Array {
  return sized(7, value instanceof Uint8Array ? value : fromBase64(String(value)));
}

function date(value: unknown): Uint8Array {
  const millis = value instanceof Date ? value.getTime() : Date.parse(`${String(value).slice(0, 10)}T00:00:00Z`);
  return fixed(8, BigInt(Math.floor(millis / DAY)));
}

function utc(value: unknown): Uint8Array {
  return moment(9, nanosAt(value));
}

function local(value: unknown): Uint8Array {
  return moment(10, nanosAt(value));
}

function timeOfDay(value: unknown): Uint8Array {
  const [hours = "0", minutes = "0", seconds = "0"] = String(value).split(":");
  return fixed(11, nanos(String(Number(hours) * 3600 + Number(minutes) * 60), "") + decimalNanos(seconds));
}

function duration(value: unknown): Uint8Array {
  const found = /^(-?)PT([\d.]+)S$/.exec(String(value));
  const size = decimalNanos(found?.[2] ?? "0");
  return moment(12, found?.[1] ? -size : size);
}

/** Nanoseconds since 1970 of a time as JSON has it, or of a Date. */
function nanosAt(value: unknown): bigint {
  if (value instanceof Date) {
    return BigInt(value.getTime()) * 1_000_000n;
  }
  const found = /^(.*?)(?:\.(\d+))?Z?$/.exec(String(value));
  return nanos(String(Date.parse(`${found?.[1] ?? ""}Z`) / 1000), found?.[2] ?? "");
}

function decimalNanos(text: string): bigint {
  const [whole = "0", fraction = ""] = text.split(".");
  return nanos(whole, fraction);
}

function nanos(seconds: string, fraction: string): bigint {
  return BigInt(seconds) * BILLION + BigInt(fraction.padEnd(9, "0").slice(0, 9));
}

/** Microseconds, and the nanoseconds below them; before 1970 the microsecond is the one below. */
function moment(tag: number, total: bigint): Uint8Array {
  const rest = ((total % 1000n) + 1000n) % 1000n;
  const bytes = new Uint8Array(11);
  bytes.set(fixed(tag, (total - rest) / 1000n));
  new DataView(bytes.buffer).setUint16(9, Number(rest), true);
  return bytes;
}

function fixed(tag: number, value: bigint): Uint8Array {
  const bytes = new Uint8Array(9);
  bytes[0] = tag;
  new DataView(bytes.buffer).setBigInt64(1, BigInt.asIntN(64, value), true);
  return bytes;
}

function sized(tag: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(5 + payload.length);
  bytes[0] = tag;
  new DataView(bytes.buffer).setUint32(1, payload.length, true);
  bytes.set(payload, 5);
  return bytes;
}

export function joined(pieces: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
