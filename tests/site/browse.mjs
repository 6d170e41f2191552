// Looks at the pages of an index as people do: node browse.mjs SITE PLUGIN ADDRESS; prints what it saw as JSON.
// SITE: their folder; ADDRESS: where they are served, below a path.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { argv } from "node:process";
import { pathToFileURL } from "node:url";
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const [site, plugin, address] = argv.slice(2);
let base = `${pathToFileURL(site)}/`;
const pages = { home: "index.html", plugin: `plugin/${plugin}/index.html`, report: `plugin/${plugin}/report.html` };
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await puppeteer.launch({
  executablePath: await chromium.executablePath(),
  headless: "shell",
  args: ["--no-sandbox"],
});
const seen = { noise: [], scrolls: {}, violations: {}, hit: {} };

async function opened(name, { width = 1100, scheme = "light", free = false } = {}) {
  const page = await browser.newPage();
  if (free) {
    await page.setBypassCSP(true); // axe is no script of the page's own, and makes a noise of its own
  } else {
    page.on("console", (message) => seen.noise.push(message.text()));
    page.on("pageerror", (error) => seen.noise.push(String(error)));
    page.on("request", (request) => request.url().startsWith(base) || seen.noise.push(request.url()));
  }
  await page.setViewport({ width, height: 800 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(base + pages[name]);
  return page;
}

const told = (page) => page.$eval("#told", (element) => element.textContent);
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);

for (const name of Object.keys(pages)) {
  const phone = await opened(name, { width: 320 });
  seen.scrolls[name] = await phone.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  seen.hit[name] = await phone.evaluate(() => globalThis.hit ?? null);
  if (argv[5]) await phone.screenshot({ path: `${argv[5]}/${name}-phone.png` });
  await phone.close();
  for (const scheme of ["light", "dark"]) {
    const page = await opened(name, { scheme, free: true });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    seen.violations[`${name} ${scheme}`] = violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`);
    if (argv[5]) await page.screenshot({ path: `${argv[5]}/${name}-${scheme}.png`, fullPage: true });
    await page.close();
  }
}

const home = await opened("home");
seen.all = await told(home);
await home.keyboard.press("/");
seen.slash = await focused(home);
await home.keyboard.type("geo");
seen.found = [await told(home), await home.$$eval("#found a", (links) => links.map((link) => link.textContent))];
await home.keyboard.press("ArrowDown");
seen.down = await focused(home);
await home.keyboard.press("ArrowUp");
seen.up = await focused(home);
await home.$eval("#words", (input) => (input.value = ""));
await home.select("#runtime", "js");
seen.facet = await home.$$eval("#found a", (links) => links.map((link) => link.textContent));
await home.keyboard.press("Tab");
await home.focus("#found a");
await Promise.all([home.waitForNavigation(), home.keyboard.press("Enter")]);
seen.went = home.url().slice(base.length);

const page = await opened("plugin");
await page.click("button[data-copies]");
await page.waitForFunction(() => document.querySelector(".install [role=status]").textContent !== "");
seen.copied = await page.$eval(".install [role=status]", (element) => element.textContent);

base = address;
await browser.defaultBrowserContext().overridePermissions(new URL(base).origin, ["clipboard-read", "clipboard-sanitized-write"]);
const start = await opened("home");
await start.keyboard.press("/");
await start.keyboard.type("tabled");
seen.served = [await told(start), await start.$$eval("#found a", (links) => links.map((link) => link.href))];
await start.keyboard.press("ArrowDown");
await Promise.all([start.waitForNavigation(), start.keyboard.press("Enter")]);
seen.below = start.url().slice(base.length);
seen.table = await start.$$eval("table tr", (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
seen.styled = await start.evaluate(() => document.styleSheets[0].cssRules.length > 0);
for (let steps = 0; steps < 9 && (await focused(start)) !== "Copy"; steps++) await start.keyboard.press("Tab");
await start.keyboard.press("Enter");
await start.waitForFunction(() => document.querySelector(".install [role=status]").textContent !== "");
seen.byKeyboard = await start.$eval(".install [role=status]", (element) => element.textContent);
seen.clipboard = await start.evaluate(() => navigator.clipboard.readText());
await Promise.all([start.waitForNavigation(), start.click("header a.home")]);
seen.back = start.url().slice(base.length);
await browser.close();
console.log(JSON.stringify(seen));
