// node type.mjs SITE: types into the search, and prints the milliseconds that a key stroke took as JSON.
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const [site] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath: await chromium.executablePath(),
  headless: "shell",
  args: ["--no-sandbox"],
});
try {
  const page = await browser.newPage();
  await page.goto(pathToFileURL(join(site, "index.html")).href);
  const took = await page.evaluate(() => {
    const words = document.getElementById("words");
    const times = [];
    for (const text of ["geo bake", "source dif", "for tests.", "nothing"]) {
      for (let length = 1; length <= text.length; length += 1) {
        words.value = text.slice(0, length);
        const began = performance.now();
        words.dispatchEvent(new Event("input"));
        times.push(performance.now() - began);
      }
    }
    return times.sort((a, b) => a - b);
  });
  console.log(JSON.stringify({ stroke_ms: took[took.length >> 1], longest_stroke_ms: took.at(-1) }));
} finally {
  await browser.close();
}
