/** The values in canonical key bytes, as JSON has them; `keys.ts` says how they are laid out. */

import { Failed } from "./errors.js";
import { toBase64, toText } from "./text.js";

const DAY_NANOS = 86_400_000_000_000n;
const BILLION = 1_000_000_000n;

/** Reads the values of a key, one column after the other, as JSON has them. */
export class KeyReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  next(): unknown {
    const tag = this.#bytes[this.#at];
    this.#at += 1;
    switch (tag) {
      case 0:
        return null;
      case 1:
        return this.#took(1) === 1n;
      case 2:
        return asJson(BigInt.asIntN(64, this.#took(8)));
      case 3:
        return asJson(this.#took(8));
      case 4:
        return this.#view.getFloat64((this.#at += 8) - 8, true);
      case 5:
      case 6:
        return toText(this.#text());
      case 7:
        return toBase64(this.#text());
      case 8:
        return isoOf(BigInt.asIntN(64, this.#took(8)) * DAY_NANOS).slice(0, 10);
      case 9:
        return `${isoOf(this.#moment())}Z`;
      case 10:
        return isoOf(this.#moment());
      case 11:
        return isoOf(this.#took(8)).slice(11);
      case 12:
        return durationOf(this.#moment());
      default:
        throw new Failed("state.corrupt_key", "these bytes are no key");
    }
  }

  /** A number of so many bytes. */
  #took(size: number): bigint {
    const at = this.#at;
    this.#at += size;
    return size === 1 ? BigInt(this.#view.getUint8(at)) : this.#view.getBigUint64(at, true);
  }

  #text(): Uint8Array {
    const start = this.#at + 4;
    this.#at = start + this.#view.getUint32(this.#at, true);
    return this.#bytes.subarray(start, this.#at);
  }

  /** Nanoseconds. */
  #moment(): bigint {
    const micros = BigInt.asIntN(64, this.#took(8));
    const rest = this.#view.getUint16(this.#at, true);
    this.#at += 2;
    return micros * 1000n + BigInt(rest);
  }
}

function asJson(value: bigint): number | string {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : String(value);
}

/** A time as JSON has it: no zeros at the end of the fraction. */
function isoOf(total: bigint): string {
  const rest = ((total % BILLION) + BILLION) % BILLION;
  const seconds = new Date(Number((total - rest) / BILLION) * 1000).toISOString().slice(0, 19);
  return `${seconds}${fractionOf(rest)}`;
}

function durationOf(total: bigint): string {
  const size = total < 0n ? -total : total;
  return `${total < 0n ? "-" : ""}PT${size / BILLION}${fractionOf(size % BILLION)}S`;
}

function fractionOf(rest: bigint): string {
  return rest === 0n ? "" : `.${String(rest).padStart(9, "0").replace(/0+$/, "")}`;
}
