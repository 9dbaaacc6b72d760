/** `rankfold open`: what its server gives and refuses, and two models that write in a real browser. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { generate } from "../src/pipeline/generate.ts";
import { silentJob } from "../src/pipeline/job.ts";
import { open } from "../src/pipeline/open.ts";
import { openOptions } from "../src/pipeline/open-options.ts";
import { generateOptions, parseOptions } from "../src/pipeline/options.ts";
import type { PlaygroundModel } from "../src/pipeline/results.ts";
import { compressed, PEQUOD, temporaryFolder } from "./exported.ts";

const PROGRAM = fileURLToPath(new URL("../bin/rankfold.js", import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const ARGUMENTS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];
const isThere = existsSync(CHROMIUM);
const PROMPT = "The people of the United States";
const TOKENS = 20;
/** Milliseconds for what takes a second or two on a quiet machine. */
const PATIENCE = 100_000;

const root = temporaryFolder();
let small: string;
let server: ChildProcess;
let url: URL;
let models: PlaygroundModel[];

beforeAll(async () => {
  small = await compressed(root, { method: "svd-llm", keep: 0.8 });
  server = spawn(process.execPath, [PROGRAM, "open", small, "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(server.stdout as NodeJS.ReadableStream, "data");
  const printed = JSON.parse(String(line));
  url = new URL(printed.url);
  models = printed.models;
}, 120_000);

afterAll(() => {
  server.kill("SIGKILL");
  rmSync(root, { recursive: true });
});

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
}

/** The path goes out as it is: `fetch` would tidy it. */
function ask(path: string, { method = "GET", host = url.host } = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: url.hostname, port: url.port, path, method, headers: { Host: host } }, async (response) => {
      let body = "";
      for await (const piece of response.setEncoding("latin1")) body += piece;
      resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
    });
    asked.on("error", reject).end();
  });
}

describe("the server", () => {
  test("listens on this machine alone, at an address that is made anew", () => {
    expect(url.hostname).toBe("127.0.0.1");
    expect(url.pathname).toMatch(/^\/[0-9a-f]{32}\/$/);
  });

  test("gives the page and the models with headers that keep everything else out", async () => {
    for (const path of ["", "models.json", "models/0/tokenizer.json", "models/1/onnx/model.onnx"]) {
      const { status, headers } = await ask(url.pathname + path);
      expect({ path, status }).toEqual({ path, status: 200 });
      const policy = String(headers["content-security-policy"]).split("; ");
      expect(policy).toEqual(expect.arrayContaining(["default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'"]));
      expect(String(policy)).not.toMatch(/unsafe-inline|unsafe-eval'(?<!wasm-unsafe-eval')|https?:|\*/);
      expect(headers).toMatchObject({
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-embedder-policy": "require-corp",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
      });
    }
  });

  test("tells nothing without the token, nor to a page under another name", async () => {
    const wrong = url.pathname.replace(/[0-9a-f]/, (digit) => (digit === "0" ? "1" : "0"));
    for (const path of ["/", "/models.json", "/index.html", `${wrong}models.json`, "//", "/?token"]) {
      expect(await ask(path)).toMatchObject({ status: 403, body: expect.not.stringContaining("pequod") });
    }
    expect(await ask(`${url.pathname}models.json`, { host: `rebound.example:${url.port}` })).toMatchObject({ status: 403 });
  });

  test.each([
    "../../../etc/passwd",
    "models/0/../../../../etc/passwd",
    "models/0/%2e%2e/%2e%2e/package.json",
    "models/0/..%2f..%2fpackage.json",
    "models/0/..\\..\\package.json",
    "models/0//etc/passwd",
    "models/0/tokenizer.json%00.txt",
    "models/0/",
    "models/0/model.safetensors",
    "models/2/tokenizer.json",
    "constructor",
  ])("has nothing at %s", async (path) => {
    expect(await ask(url.pathname + path)).toMatchObject({ status: 404, body: "There is nothing here.\n" });
  });

  test("only reads", async () => {
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      expect(await ask(`${url.pathname}models.json`, { method })).toMatchObject({ status: 405 });
    }
    const head = await ask(`${url.pathname}models/0/onnx/model.onnx_data`, { method: "HEAD" });
    expect(head).toMatchObject({ status: 200, body: "" });
    expect(Number(head.headers["content-length"])).toBeGreaterThan(1e6);
  });
});

describe("what is opened", () => {
  const opened = (options: { out: string; against?: string; dtype?: "q8" | "q4" }) =>
    open(parseOptions(openOptions, { ...options, scratch: join(root, `scratch-${Math.random()}`) }), silentJob);

  test("a compressed model stands beside the one that it was made from", () => {
    expect(models).toMatchObject([
      { name: "pequod-5m", made: "dense", dtype: "fp32", parameters: 5475584 },
      { made: "svd-llm, keep 0.8", dtype: "fp32", graph: "onnx/model.onnx", data: ["onnx/model.onnx_data"] },
    ]);
    expect(models[1]?.bytes).toBeLessThan(models[0]?.bytes as number);
  });

  test("an exported folder is used as it is, a model alone has none beside it", async () => {
    const [folder] = models.map((model) => model.folder);
    const [alone, ...others] = await opened({ out: folder as string });
    expect({ alone, others }).toMatchObject({ alone: { folder, made: null, dtype: "fp32" }, others: [] });
    const both = await opened({ out: PEQUOD, against: PEQUOD, dtype: "q4" });
    expect(both.map(({ graph }) => graph)).toEqual(["onnx/model_q4.onnx", "onnx/model_q4.onnx"]);
  });

  test("a dtype that an exported folder lacks is named", async () => {
    const [folder] = models.map((model) => model.folder);
    await expect(opened({ out: folder as string, dtype: "q8" })).rejects.toThrow(
      /expected model_quantized.onnx, found fp32; export it with --dtype q8/,
    );
    const empty = join(root, "empty");
    mkdirSync(join(empty, "onnx"), { recursive: true });
    writeFileSync(join(empty, "onnx", "other.onnx"), "");
    await expect(opened({ out: empty })).rejects.toThrow(/expected model.onnx, found none/);
  });
});

describe.skipIf(!isThere)(
  "the page in a browser (skipped where there is no chromium: apt-get install chromium)",
  { timeout: PATIENCE },
  () => {
    let browser: Browser;
    beforeAll(async () => {
      browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
    });
    afterAll(() => browser?.close());

    /** The page with its models loaded; `said` fills with its console, its errors and what it asks elsewhere. */
    async function load(options: BrowserContextOptions = {}): Promise<{ page: Page; said: string[] }> {
      const page = await browser.newPage({ viewport: { width: 1180, height: 900 }, ...options });
      page.setDefaultTimeout(PATIENCE);
      const said: string[] = [];
      page.on("console", (message) => said.push(message.text()));
      page.on("pageerror", (error) => said.push(String(error)));
      page.on("request", (asked) => {
        if (!/^(blob|data):/.test(asked.url()) && !asked.url().startsWith(url.href)) said.push(asked.url());
      });
      await page.goto(url.href);
      await page.locator("#write:enabled").waitFor();
      return { page, said };
    }

    async function write(page: Page): Promise<void> {
      await page.getByLabel("Prompt", { exact: true }).fill(PROMPT);
      await page.getByLabel("Tokens", { exact: true }).fill(String(TOKENS));
      await page.getByRole("button", { name: "Write" }).click();
      await page.locator("#write:enabled").waitFor();
    }

    async function expected(model: string): Promise<string> {
      return PROMPT + (await generate(parseOptions(generateOptions, { model, prompt: PROMPT, tokens: TOKENS }), silentJob)).text;
    }

    test("both models write what `rankfold generate` writes, and are compared token by token", async () => {
      const { page, said } = await load();
      expect(await page.evaluate("crossOriginIsolated")).toBe(true);
      await write(page);
      expect(await page.locator(".pane .text").allTextContents()).toEqual([await expected(PEQUOD), await expected(small)]);
      expect(await page.locator(".pane .state").allTextContents()).toEqual(Array(2).fill(`wrote ${TOKENS} tokens`));
      expect(await page.locator(".pane.side-1 small").allTextContents()).toContain("0.84\u00d7");
      expect(await page.locator("#strip").textContent()).toBe(await expected(PEQUOD));
      expect(await page.locator("#comparison-summary").textContent()).toMatch(/diverge by 0\.\d{3} nats .* agree \d+ %/);
      expect(await page.locator("#detail li").count()).toBe(2 * 5);
      await page
        .locator("#comparison-text")
        .getByText(models[1]?.name as string)
        .click();
      await expect.poll(() => page.locator("#strip").textContent()).toBe(await expected(small));
      expect(said).toEqual([]);
      await page.close();
    });

    test("works from the keyboard: skip link, settings, tokens by arrow keys", async () => {
      const { page } = await load();
      await page.keyboard.press("Tab");
      expect(await page.evaluate("document.activeElement.className")).toBe("skip");
      await page.keyboard.press("Enter");
      await page.getByLabel("Tokens", { exact: true }).fill("4");
      await page.getByLabel("One after the other").press("Space");
      await page.getByLabel("Prompt", { exact: true }).press("Control+Enter");
      await page.locator("#strip [aria-selected=true]").waitFor();
      await page.locator("#strip [tabindex='0']").focus();
      await page.keyboard.press("End");
      const last = page.locator("#strip [role=option]").last();
      expect(await last.getAttribute("aria-selected")).toBe("true");
      const before = await page.locator("#detail").textContent();
      await page.keyboard.press("ArrowLeft");
      expect(await page.locator("#detail").textContent()).not.toBe(before);
      expect(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid");
      await page.close();
    });

    test("stops when told to", async () => {
      const { page } = await load();
      await page.getByLabel("Tokens", { exact: true }).fill("200");
      await page.getByRole("button", { name: "Write" }).click();
      await page.locator(".pane .state", { hasText: "writing" }).first().waitFor();
      await page.getByRole("button", { name: "Stop" }).click();
      await page.locator("#write:enabled").waitFor();
      const written = await page.locator(".pane .state").allTextContents();
      expect(written.map((line) => Number(/\d+/.exec(line)?.[0])).every((tokens) => tokens < 200)).toBe(true);
      await page.close();
    });

    test.each(["light", "dark"] as const)("fits a phone of 390 pixels, %s", async (colorScheme) => {
      const { page, said } = await load({ viewport: { width: 390, height: 844 }, colorScheme });
      await write(page);
      expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(390);
      const dark = "rgb(18, 22, 27)";
      const back = await page.evaluate("getComputedStyle(document.body).backgroundColor");
      expect(back === dark).toBe(colorScheme === "dark");
      expect(said).toEqual([]);
      await page.close();
    });
  },
);

test("Ctrl-C ends it with 0 and leaves no files", async () => {
  const scratch = join(models[0]?.folder as string, "..");
  expect(readdirSync(scratch)).toEqual(["against", "out"]);
  server.kill("SIGINT");
  const [code] = await once(server, "exit");
  expect({ code, isGone: !existsSync(scratch) }).toEqual({ code: 0, isGone: true });
});
