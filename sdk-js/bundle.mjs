#!/usr/bin/env node
/**
 * `dataflare-bundle ENTRY [OUT]`: makes `OUT` (`plugin.js`) and its source map of a module that exports components.
 *
 * The bundle is one CommonJS script for an engine without Node: it exports `handle(request, hostCall)`. It carries the
 * SDK as text, and takes that of the engine instead where the engine was built with the same one: what is text need
 * not be parsed.
 */

import { createHash } from "node:crypto";
import { readFileSync, realpathSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const COMMON = {
  bundle: true,
  format: "cjs",
  platform: "neutral",
  mainFields: ["module", "main"],
  target: "es2022",
  legalComments: "none",
  minifySyntax: true,
  minifyWhitespace: true,
  keepNames: false,
  logLevel: "warning",
};

/**
 * The SDK as the body of a function of `module` and `exports`, and its key: the digest of the sources it is made of,
 * which is the same wherever they lie and whichever version of esbuild bundles them.
 */
export async function sdkScript() {
  const made = await build({ ...COMMON, entryPoints: [sdk()], write: false, metafile: true });
  const digests = Object.keys(made.metafile.inputs).map((file) => digest(readFileSync(file)));
  return { key: digest(digests.sort().join()).slice(0, 32), script: made.outputFiles[0].text };
}

function digest(content) {
  return createHash("sha256").update(content).digest("hex");
}

/** Bundle a plugin. Rejects with esbuild's errors. */
export async function bundle(entry, out = "plugin.js") {
  const file = resolve(entry);
  const contents = `
    import * as components from ${JSON.stringify(file)};
    import { serve } from "@dataflare/sdk";
    export const handle = serve(components);
  `;
  await build({
    ...COMMON,
    stdin: { contents, resolveDir: dirname(file), sourcefile: "dataflare-entry.js" },
    outfile: resolve(out),
    sourcemap: "external",
    sourcesContent: false,
    plugins: [asText(await sdkScript())],
  });
}

/** What `@dataflare/sdk` is in a bundle: the engine's, or that of its own text. */
function asText({ key, script }) {
  const contents = `
    const own = () => {
      const made = { exports: {} };
      new Function("module", "exports", ${JSON.stringify(script + "//# sourceURL=dataflare-sdk.js")})(made, made.exports);
      return made.exports;
    };
    module.exports = globalThis[Symbol.for("dataflare.sdks")]?.["${key}"] ?? own();
  `;
  return {
    name: "dataflare-sdk",
    setup(esbuild) {
      esbuild.onResolve({ filter: /^@dataflare\/sdk$/ }, ({ path }) => ({ path, namespace: "dataflare-sdk" }));
      esbuild.onLoad({ filter: /.*/, namespace: "dataflare-sdk" }, () => ({ contents, loader: "js" }));
    },
  };
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
