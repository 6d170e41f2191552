#!/usr/bin/env node
/**
 * `dataflare-bundle ENTRY [OUT]`: makes `OUT` (`plugin.js`) and its source map of a module that exports components.
 *
 * The bundle is one CommonJS script for an engine without Node: it exports `handle(request, hostCall)`.
 */

import { realpathSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** Bundle a plugin. Rejects with esbuild's errors. */
export async function bundle(entry, out = "plugin.js") {
  const file = resolve(entry);
  const contents = `
    import * as components from ${JSON.stringify(file)};
    import { serve } from "@dataflare/sdk";
    export const handle = serve(components);
  `;
  await build({
    stdin: { contents, resolveDir: dirname(file), sourcefile: "dataflare-entry.js" },
    outfile: resolve(out),
    bundle: true,
    format: "cjs",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2022",
    sourcemap: "external",
    sourcesContent: false,
    legalComments: "none",
    minifySyntax: true,
    minifyWhitespace: true,
    keepNames: false,
    alias: { "@dataflare/sdk": sdk() },
    logLevel: "warning",
  });
}

/** This SDK's own entry: the plugin and what serves it must share one copy. */
function sdk() {
  return fileURLToPath(import.meta.resolve("@dataflare/sdk"));
}

if (process.argv[1] && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url))) {
  const [entry, out] = process.argv.slice(2);
  if (entry === undefined) {
    console.error("usage: dataflare-bundle ENTRY [OUT]");
    process.exitCode = 2;
  } else {
    await bundle(entry, out);
  }
}
