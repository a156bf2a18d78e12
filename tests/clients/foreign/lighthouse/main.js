// Lighthouse over pages of a running server, in one browser.
// Reads {chromium, base, name, password, pages: [{path, outside, scheme, width}]} from standard input, and prints
// [{path, scheme, end, bytes, problem, scores, failed}]: scores by category, 0 to 1, and what keeps them from 1.
"use strict";
const CATEGORIES = ["accessibility", "best-practices"];
const SETTINGS = {
  onlyCategories: CATEGORIES, onlyAudits: ["network-requests"], output: "json", logLevel: "error", disableStorageReset: true, disableFullPageScreenshot: true,
  // "simulate" slows nothing down while a page loads; other methods wait at least 10 s for silence after it.
  throttlingMethod: "simulate", screenEmulation: { disabled: true }, emulatedUserAgent: false,
  // What is looked at is the markup and what the browser complains of, not speed.
  maxWaitForLoad: 15000, pauseAfterFcpMs: 0, pauseAfterLoadMs: 0, networkQuietThresholdMs: 200, cpuQuietThresholdMs: 0,
};

const failures = (lhr) => CATEGORIES.flatMap((name) => lhr.categories[name].auditRefs).filter((ref) => ref.weight > 0)
  .map((ref) => lhr.audits[ref.id]).filter((audit) => audit.score !== null && audit.score < 1)
  .map((audit) => `${audit.id}: ${audit.title} ${JSON.stringify(audit.details?.items ?? []).slice(0, 500)}`);

const signIn = async (page, { base, name, password }) => {
  await page.goto(`${base}/login`);
  await page.type("[name=name]", name);
  await page.type("[name=password]", password);
  await Promise.all([page.waitForNavigation(), page.click("button.go")]);
};

const main = async (job) => {
  const { default: lighthouse } = await import("lighthouse");
  const { default: puppeteer } = await import("puppeteer-core");
  const browser = await puppeteer.launch({ executablePath: job.chromium, args: ["--no-sandbox"], headless: true });
  const told = [];
  try {
    const page = await browser.newPage();
    // Lighthouse waits until the network is silent, and figures that are live never are.
    await page.evaluateOnNewDocument(() => { window.EventSource = class extends EventTarget { close() {} }; });
    let inside = false;
    for (const { path, outside, scheme, width } of job.pages) {
      if (!outside && !inside) { await signIn(page, job); inside = true; }
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await page.setViewport({ width, height: 900 });
      const { lhr } = await lighthouse(`${job.base}${path}`, { ...SETTINGS, formFactor: width < 600 ? "mobile" : "desktop" }, undefined, page);
      // Lighthouse loads a page with an empty cache: what came over the line for it.
      const bytes = (lhr.audits["network-requests"]?.details?.items ?? []).reduce((sum, one) => sum + (one.transferSize || 0), 0);
      const dark = await page.evaluate(() => matchMedia("(prefers-color-scheme: dark)").matches);
      told.push({
        path, scheme: dark ? "dark" : "light", end: new URL(lhr.finalDisplayedUrl).pathname, bytes, problem: lhr.runtimeError?.message ?? "",
        scores: Object.fromEntries(CATEGORIES.map((one) => [one, lhr.categories[one].score])), failed: failures(lhr),
      });
    }
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(told));
};

let text = "";
process.stdin.on("data", (piece) => { text += piece; }).on("end", () => main(JSON.parse(text)).catch((error) => { console.error(error); process.exit(1); }));
