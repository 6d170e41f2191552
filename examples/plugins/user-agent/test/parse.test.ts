import assert from "node:assert/strict";
import { test } from "node:test";
import { process } from "@dataflare/sdk/testing";
import { parse } from "../src/parse.js";
import { parsed } from "../src/plugin.js";

const CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
const BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

test("known headers", () => {
  const iphone =
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1";
  const edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/125.0.0.0 Safari/537.36 Edg/125.0.2535";
  const tablet = "Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36";
  const told = [CHROME, iphone, edge, tablet].map((header) => Object.values(parse(header)));
  assert.deepEqual(told, [
    ["Chrome", "126.0.0.0", "Linux", "desktop"],
    ["Safari", "17.5", "iOS", "phone"],
    ["Edge", "125.0.2535", "Windows", "desktop"],
    ["Chrome", "120.0.0.0", "Android", "tablet"],
  ]);
});

test("what is unknown is null", () => {
  assert.deepEqual(Object.values(parse("")), [null, null, null, null]);
});

test("bots are told apart, and left out where nobody wants them", async () => {
  const rows = [{ user_agent: BOT }, { user_agent: CHROME }, { user_agent: "curl/8.5.0" }];
  const all = await process(parsed, rows);
  assert.deepEqual(
    all.rows.map(({ browser, device }) => [browser, device]),
    [
      ["Googlebot", "bot"],
      ["Chrome", "desktop"],
      ["curl", "bot"],
    ],
  );
  assert.equal((await process(parsed, rows, { config: { bots: false } })).rows.length, 1);
});
