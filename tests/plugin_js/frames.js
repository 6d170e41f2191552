// What a handle needs that no SDK made: frames as the guest protocol has them.
const encoder = new TextEncoder();
const decoder = new TextDecoder();
function pack(header, parts = []) {
  const text = encoder.encode(JSON.stringify({ ...header, parts: parts.map((part) => part.length) }));
  const bytes = new Uint8Array(4 + text.length + parts.reduce((sum, part) => sum + part.length, 0));
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 4);
  let at = 4 + text.length;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
function unpack(bytes) {
  const end = 4 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const { parts, ...header } = JSON.parse(decoder.decode(bytes.subarray(4, end)));
  let at = end;
  return { header, parts: (parts ?? []).map((size) => bytes.subarray(at, (at += size))) };
}
