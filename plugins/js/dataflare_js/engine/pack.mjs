// Packs a script and the SDK into the engine as a component without any WASI import: node pack.mjs SCRIPT WORLD OUT
import { readFile, writeFile } from "node:fs/promises";
import { argv } from "node:process";
import { componentize } from "@bytecodealliance/componentize-js";
import { sdkScript } from "@dataflare/sdk/bundle";

const [script, witPath, out] = argv.slice(2);
const sdk = await sdkScript();
const sourcePath = `with-sdk-${script}`;
// Evaluated now, so that it is in the engine's memory when a plugin starts.
const held = `\nkeep("${sdk.key}", function (module, exports) {\n${sdk.script}\n});\n`;
await writeFile(sourcePath, (await readFile(script, "utf8")) + held);
const disableFeatures = ["stdio", "random", "clocks", "http", "fetch-event"];
const { component } = await componentize({ sourcePath, witPath, disableFeatures });
await writeFile(out, component);
