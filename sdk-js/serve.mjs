#!/usr/bin/env node
/**
 * `dataflare-serve PLUGIN.js`: answers frames on standard input and output by a bundled plugin, under Node.
 *
 * For tests and tools: in production the plugin runs in the host's engine. What a plugin prints goes to standard error.
 */

import { createRequire } from "node:module";
import { readSync, writeSync } from "node:fs";
import { Console } from "node:console";
import { resolve } from "node:path";

const FRAMES_IN = 0;
const FRAMES_OUT = 1;

globalThis.console = new Console(process.stderr, process.stderr);
const { handle } = createRequire(import.meta.url)(resolve(process.argv[2] ?? "plugin.js"));

/** The next frame as it came, or null at the end. */
function read() {
  const head = exactly(4);
  if (head === null) {
    return null;
  }
  const header = exactly(head.readUInt32LE(0)) ?? Buffer.alloc(0);
  const { parts = [] } = JSON.parse(header.toString());
  const payload = exactly(parts.reduce((sum, size) => sum + size, 0)) ?? Buffer.alloc(0);
  return new Uint8Array(Buffer.concat([head, header, payload]));
}

function exactly(size) {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size;) {
    const got = readSync(FRAMES_IN, bytes, at, size - at, null);
    if (got === 0) {
      return null;
    }
    at += got;
  }
  return bytes;
}

function write(bytes) {
  for (let at = 0; at < bytes.length;) {
    at += writeSync(FRAMES_OUT, bytes, at);
  }
}

function hostCall(question) {
  write(question);
  const answer = read();
  if (answer === null) {
    throw new Error("the host has gone");
  }
  return answer;
}

for (let request = read(); request !== null; request = read()) {
  write(await handle(request, hostCall));
}
