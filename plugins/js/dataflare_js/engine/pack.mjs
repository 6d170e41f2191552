// Packs a script into the engine as a component without any WASI import: node pack.mjs SCRIPT WORLD OUT
import { writeFile } from "node:fs/promises";
import { argv } from "node:process";
import { componentize } from "@bytecodealliance/componentize-js";

const [sourcePath, witPath, out] = argv.slice(2);
const disableFeatures = ["stdio", "random", "clocks", "http", "fetch-event"];
const { component } = await componentize({ sourcePath, witPath, disableFeatures });
await writeFile(out, component);
