/** Frames: `u32 header length (little-endian) | header JSON (UTF-8, at most 1 MiB) | parts, one after the other`. */

import { Failed } from "./errors.js";
import { toBytes, toText } from "./text.js";

/** The JSON object of a frame. */
export type Header = Record<string, unknown>;

/** A request, a question or an answer: a JSON object, and parts of bytes that it refers to by number. */
export interface Frame {
  header: Header;
  parts: readonly Uint8Array[];
}

const MAX_HEADER = 1 << 20;
const MAX_PAYLOAD = 2 ** 30;

/** A frame as bytes. Throws Failed `guest.frame` where it is too large. */
export function pack(header: Header, parts: readonly Uint8Array[] = []): Uint8Array {
  const sizes = parts.map((part) => part.length);
  const text = toBytes(JSON.stringify({ ...header, parts: sizes }));
  if (text.length > MAX_HEADER) {
    throw broken(`the header has ${text.length} bytes, more than ${MAX_HEADER}`);
  }
  const payload = sizes.reduce((sum, size) => sum + size, 0);
  if (payload > MAX_PAYLOAD) {
    throw broken(`the payload has ${payload} bytes, more than ${MAX_PAYLOAD}`);
  }
  const bytes = new Uint8Array(4 + text.length + payload);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 4);
  let at = 4 + text.length;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The frame that these bytes are. Throws Failed `guest.frame` for anything else. */
export function unpack(bytes: Uint8Array): Frame {
  if (bytes.length < 4) {
    throw broken("it is shorter than the length of its header");
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  const end = 4 + length;
  if (length > MAX_HEADER || end > bytes.length) {
    throw broken(`it names a header of ${length} bytes and has ${bytes.length - 4}`);
  }
  const header = headerIn(bytes.subarray(4, end));
  const sizes = header.parts ?? [];
  delete header.parts;
  if (!Array.isArray(sizes) || !sizes.every(isSize)) {
    throw broken("`parts` is not a list of sizes");
  }
  let at = end;
  const parts = sizes.map((size) => bytes.subarray(at, (at += size)));
  if (at !== bytes.length) {
    throw broken(`its parts are ${at - end} bytes, behind the header are ${bytes.length - end}`);
  }
  return { header, parts };
}

/** A part by its number. Throws Failed `guest.frame` where there is none. */
export function partAt(frame: Frame, index: unknown = 0): Uint8Array {
  const part = typeof index === "number" ? frame.parts[index] : undefined;
  if (part === undefined) {
    throw broken(`it has no part ${String(index)}`);
  }
  return part;
}

/** A word of the header. Throws Failed `guest.frame` where it is missing. */
export function word(header: Header, name: string): unknown {
  if (!(name in header)) {
    throw broken(`its header has no \`${name}\``);
  }
  return header[name];
}

/** A text of a header; anything else is taken for none. */
export function textOf(given: unknown, otherwise = ""): string {
  return typeof given === "string" ? given : otherwise;
}

function headerIn(bytes: Uint8Array): Header {
  let header: unknown;
  try {
    header = JSON.parse(toText(bytes));
  } catch (error) {
    throw broken(`its header is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw broken("its header is not a JSON object");
  }
  return header as Header;
}

function isSize(size: unknown): size is number {
  return typeof size === "number" && Number.isInteger(size) && size >= 0;
}

function broken(cause: string): Failed {
  return new Failed("guest.frame", "what was sent is not a frame", { cause });
}
