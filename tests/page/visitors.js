/** Those who open the page, each in a browser of its own, and what they do and see there. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { isDeepStrictEqual, parseArgs } from "node:util";

const require = createRequire(new URL("../../.tools/page/package.json", import.meta.url));
const { chromium } = require("playwright-core");

export const { values: given } = parseArgs({
  options: { shots: { type: "string" }, serve: { type: "string" } },
});
export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };

/** Nothing that is waited for takes longer, on a machine that is busy with other things. */
const PATIENCE_MS = 30_000;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
if (given.shots) mkdirSync(given.shots, { recursive: true });

let passed = 0;
let failed = 0;
/** What pages complained of, which no claim looks for. */
export const complaints = [];
/** Fills the form in and waits for the chat. */
export async function enter(page, { name, token }) {
  if (name !== undefined) await page.getByLabel("Your name").fill(name);
  if (token !== undefined) await page.getByLabel("Access token").fill(token);
  await page.getByRole("button", { name: "Enter", exact: true }).click();
  await connected(page);
}

export async function join(page, name) {
  await page.getByLabel("Name of the room to join").fill(name);
  await page.keyboard.press("Enter");
}

/** Opens an address of the page in a browser of its own. */
export async function visitor(name, address, { viewport = DESKTOP, colorScheme = "light", clock = false, route } = {}) {
  const context = await browser.newContext({ viewport, colorScheme, locale: "en-GB", hasTouch: viewport === PHONE });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("pageerror", (error) => complaints.push(`${name}: ${error}`));
  page.on("console", (line) => {
    // A server that is being restarted can't be reached; that is no fault of the page.
    if (line.type() === "error" && !/WebSocket connection|ERR_CONNECTION_REFUSED/.test(line.text())) complaints.push(`${name}: ${line.text()}`);
  });
  page.on("dialog", (dialog) => {
    complaints.push(`${name}: a dialog opened`);
    dialog.dismiss();
  });
  if (clock) await page.clock.install();
  if (route) await page.routeWebSocket(/\/ws$/, route);
  await page.goto(address);
  return page;
}

export const connected = (page) => page.locator('#connection[data-state="online"]').waitFor({ state: "attached", timeout: 2 * PATIENCE_MS });
export const bubbles = (page) => page.locator("#log .bubble").evaluateAll((all) => all.map((one) => one.firstChild.textContent));
export const heard = (page, text) => page.locator("#log .bubble", { hasText: text }).first().waitFor();
export const listed = (page, list, name) => page.locator(`#${list} .row`, { hasText: name }).first();

export async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

export async function shot(page, name) {
  if (given.shots) await page.screenshot({ path: `${given.shots}/${name}.png`, animations: "disabled" });
}

/** Waits until something holds. */
export async function until(what, holds) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > end) assert.fail(`not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((again) => setTimeout(again, 50));
  }
}

/**
 * Waits until `read` gives what is expected: a page draws with its next frame, and so later than it is
 * written to or hears anything.
 */
export async function gives(what, read, expected) {
  let last;
  try {
    await until(what, async () => isDeepStrictEqual((last = await read()), expected));
  } catch {
    assert.deepEqual(last, expected, what);
  }
}

/** Waits until so many elements are there. */
export const counts = (locator, expected) => gives(`${locator}`, () => locator.count(), expected);

/** Waits until whatever moves has come to rest, but for what never does. */
export const still = (page) =>
  page.evaluate(async () => {
    const moving = document.getAnimations().filter(({ effect }) => Number.isFinite(effect.getComputedTiming().endTime));
    await Promise.allSettled(moving.map(({ finished }) => finished));
  });

export async function claim(name, holds) {
  try {
    await holds();
    passed += 1;
    console.log(`ok - ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok - ${name}\n${String(error.stack).replace(/^/gm, "    ")}`);
    await Promise.all(browser.contexts().map(async (context, n) => shot(context.pages()[0], `failed-${failed}-${n}`)));
  }
}

/** Closes the browser and says how it went. */
export async function finish() {
  await browser.close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 ? 1 : 0;
}
