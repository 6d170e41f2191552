/** What a User-Agent header says, by rules that are tried in order: the first that fits holds. */

/** What is known of a client. */
export interface Client {
  browser: string | null;
  browser_version: string | null;
  system: string | null;
  device: "desktop" | "phone" | "tablet" | "bot" | null;
}

const BOTS = /bot\b|crawler|spider|slurp|facebookexternalhit|curl\/|wget\/|python-requests|go-http-client|headlesschrome/i;

/** Others carry the names of those that they imitate, so the imitators come first. */
const BROWSERS: readonly (readonly [string, RegExp])[] = [
  ["Edge", /\bEdg(?:e|A|iOS)?\/([\d.]+)/],
  ["Opera", /\b(?:OPR|Opera)\/([\d.]+)/],
  ["Samsung Internet", /\bSamsungBrowser\/([\d.]+)/],
  ["Vivaldi", /\bVivaldi\/([\d.]+)/],
  ["Firefox", /\b(?:Firefox|FxiOS)\/([\d.]+)/],
  ["Chrome", /\b(?:Chrome|CriOS)\/([\d.]+)/],
  ["Safari", /\bVersion\/([\d.]+).*\bSafari\//],
  ["Internet Explorer", /\b(?:MSIE |Trident\/.*\brv:)([\d.]+)/],
];

const SYSTEMS: readonly (readonly [string, RegExp])[] = [
  ["iOS", /\b(?:iPhone|iPad|iPod)\b/],
  ["Android", /\bAndroid\b/],
  ["Windows", /\bWindows\b/],
  ["macOS", /\bMac OS X\b|\bMacintosh\b/],
  ["ChromeOS", /\bCrOS\b/],
  ["Linux", /\bLinux\b|\bX11\b/],
];

/** Read a header. */
export function parse(header: string): Client {
  if (BOTS.test(header)) {
    const name = /[A-Za-z][\w.-]*(?:bot|crawler|spider)[\w-]*/i.exec(header) ?? /^[\w.-]+(?=\/)/.exec(header);
    return { browser: name?.[0] ?? null, browser_version: null, system: null, device: "bot" };
  }
  const browser = BROWSERS.find(([, form]) => form.test(header));
  const system = SYSTEMS.find(([, form]) => form.test(header))?.[0] ?? null;
  return {
    browser: browser?.[0] ?? null,
    browser_version: browser?.[1].exec(header)?.[1] ?? null,
    system,
    device: deviceOf(header, system),
  };
}

function deviceOf(header: string, system: string | null): Client["device"] {
  if (/\biPad\b|\bTablet\b/.test(header) || (system === "Android" && !/\bMobile\b/.test(header))) {
    return "tablet";
  }
  if (/\biPhone\b|\biPod\b|\bMobile\b/.test(header)) {
    return "phone";
  }
  return system === null ? null : "desktop";
}
