/**
 * Screenshots of the playground with its models writing, in a real Chromium (CHROMIUM, default /usr/bin/chromium).
 *
 *   node bench/playground-shots.mjs MODEL FOLDER [--against MODEL] [--prompt TEXT] [--tokens 64]
 *
 * Leaves writing.png, written.png, dark.png and phone.png in FOLDER.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const PROGRAM = fileURLToPath(new URL("../bin/rankfold.js", import.meta.url));
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { against: { type: "string" }, prompt: { type: "string" }, tokens: { type: "string", default: "64" } },
});
const [model, folder] = positionals;
if (!model || !folder) {
  console.error("usage: node bench/playground-shots.mjs MODEL FOLDER [--against MODEL]");
  process.exit(2);
}
mkdirSync(folder, { recursive: true });

const against = values.against ? ["--against", values.against] : [];
const server = spawn(process.execPath, [PROGRAM, "open", model, ...against, "--json"], { stdio: ["ignore", "pipe", "inherit"] });
const [line] = await once(server.stdout, "data");
const { url } = JSON.parse(String(line));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"],
});

/** Opens the page, writes, and calls `shoot` when both are at it and when all is done. */
async function record(options, shoot) {
  const page = await browser.newPage({ deviceScaleFactor: 1, ...options });
  page.on("console", (message) => console.error(`console: ${message.text()}`));
  page.on("pageerror", (error) => console.error(`page: ${error}`));
  await page.goto(url);
  await page.locator("#write:enabled").waitFor({ timeout: 120_000 });
  if (values.prompt) await page.getByLabel("Prompt", { exact: true }).fill(values.prompt);
  await page.getByLabel("Tokens", { exact: true }).fill(values.tokens);
  await page.getByRole("button", { name: "Write" }).click();
  await page
    .locator(".pane .state", { hasText: /writing, \d{2,} tokens/ })
    .first()
    .waitFor({ timeout: 120_000 });
  await shoot(page, "writing");
  await page.locator("#write:enabled").waitFor({ timeout: 300_000 });
  await shoot(page, "written");
  await page.close();
}

const save = (page, name) => page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });

await record({ viewport: { width: 1180, height: 900 } }, save);
await record(
  { viewport: { width: 1180, height: 900 }, colorScheme: "dark" },
  (page, at) => at === "written" && save(page, "dark"),
);
await record({ viewport: { width: 390, height: 844 } }, (page, at) => at === "written" && save(page, "phone"));

await browser.close();
server.kill("SIGINT");
await once(server, "exit");
