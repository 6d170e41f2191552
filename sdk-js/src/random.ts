/** Random numbers from a seed: the same batch gives the same numbers. */

/** A function like `Math.random`, seeded by a text (sfc32). */
export function seeded(seed: string): () => number {
  let [a, b, c, count] = [hashed(seed, 1), hashed(seed, 2), hashed(seed, 3), 1];
  const next = (): number => {
    const sum = (a + b + count) | 0;
    count = (count + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 4294967296;
  };
  for (let round = 0; round < 12; round += 1) {
    next();
  }
  return next;
}

/** FNV-1a of a text and a number. */
function hashed(text: string, salt: number): number {
  let hash = 0x811c9dc5 ^ salt;
  for (let at = 0; at < text.length; at += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return hash | 0;
}
