"use strict";
// What is shown is made of text nodes alone: names and summaries are those of strangers.
const SHOWN = 50;
const at = (id) => document.getElementById(id);
const lines = globalThis.plugins.map((plugin) => ({
  plugin,
  text: [plugin.name, plugin.summary, plugin.runtime, ...plugin.components].join(" ").toLowerCase(),
  kinds: plugin.components.map((component) => component.split(":")[0]),
}));
const facets = {
  kind: (line) => line.kinds,
  runtime: (line) => [line.plugin.runtime],
  permission: (line) => line.plugin.permissions,
};

function fill() {
  for (const [id, valuesOf] of Object.entries(facets)) {
    for (const value of [...new Set(lines.flatMap(valuesOf))].sort()) at(id).append(new Option(value, value));
  }
}

function made(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function item({ plugin }) {
  const link = made("a", plugin.name);
  link.href = `plugin/${encodeURIComponent(plugin.name)}/index.html`;
  const shown = document.createElement("li");
  shown.append(link, " ", made("code", plugin.version), made("p", plugin.summary));
  return shown;
}

function rank(line, words) {
  const name = line.plugin.name.toLowerCase();
  return words.reduce((sum, word) => sum + (name === word ? 0 : name.startsWith(word) ? 1 : name.includes(word) ? 2 : 10), 0);
}

function search() {
  const words = at("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = Object.entries(facets).filter(([id]) => at(id).value);
  const found = lines
    .filter((line) => words.every((word) => line.text.includes(word)))
    .filter((line) => wanted.every(([id, valuesOf]) => valuesOf(line).includes(at(id).value)))
    .map((line) => [rank(line, words), line])
    .sort((a, b) => a[0] - b[0]);
  at("found").replaceChildren(...found.slice(0, SHOWN).map(([, line]) => item(line)));
  const first = found.length > SHOWN ? `, the first ${SHOWN} are shown` : "";
  at("told").textContent = `${found.length} found${first}`;
}

/** The arrows go through what was found, and back to the words. */
function step(event) {
  const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const stops = [at("words"), ...at("found").querySelectorAll("a")];
  const here = stops.indexOf(document.activeElement);
  if (!way || here < 0) return;
  event.preventDefault();
  stops[Math.min(Math.max(here + way, 0), stops.length - 1)].focus();
}

fill();
search();
document.addEventListener("keydown", step);
for (const id of ["words", ...Object.keys(facets)]) at(id).addEventListener("input", search);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    at("words").focus();
  }
});
