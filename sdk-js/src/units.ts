/** Durations and sizes as people write them in a flow. */

const SECONDS: Record<string, number> = { us: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
const PREFIXES = ["", "k", "m", "g", "t"];

/** Seconds of `"1h30m"`, `"500ms"` or `"2"`; null where it is none. */
export function secondsIn(text: string): number | null {
  const words = text.trim().toLowerCase();
  if (/^\d+(\.\d+)?$/.test(words)) {
    return Number(words);
  }
  if (!/^(\d+(\.\d+)?\s*[a-z]+\s*)+$/.test(words)) {
    return null;
  }
  const parts = [...words.matchAll(/(\d+(?:\.\d+)?)\s*([a-z]+)/g)];
  const seconds = parts.map(([, number, unit]) => Number(number) * (SECONDS[unit ?? ""] ?? NaN));
  const sum = seconds.reduce((a, b) => a + b, 0);
  return Number.isNaN(sum) ? null : sum;
}

/** Bytes of `"16MiB"` (1024s), `"1MB"` (1000s) or `"4096"`; null where it is none. */
export function bytesIn(text: string): number | null {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*$/i.exec(text);
  if (found === null) {
    return null;
  }
  const power = PREFIXES.indexOf((found[2] ?? "").toLowerCase());
  return Math.round(Number(found[1]) * (found[3] ? 1024 : 1000) ** power);
}
