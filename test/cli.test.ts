import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";

const PROGRAM = fileURLToPath(new URL("../bin/rankfold.js", import.meta.url));
const MODEL = fileURLToPath(new URL("../assets/pequod-5m", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "rankfold-cli-"));
afterAll(() => rmSync(folder, { recursive: true }));

function rankfold(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], { encoding: "utf8", cwd: folder });
  return { status, stdout, stderr };
}

function textFile(name: string, words: number): string {
  const file = join(folder, name);
  writeFileSync(file, Array.from({ length: words }, (_, i) => `The year ${i} was good to the people`).join(". "));
  return file;
}

describe("wrong usage ends with 2, a line on stderr and nothing on stdout", () => {
  test.each([
    ["an unknown command", ["inspekt"], "Did you mean inspect?"],
    ["an unknown option", ["inspect", MODEL, "--jsn"], "--jsn"],
    ["no model", ["inspect"], "missing required argument 'model'"],
    ["too many arguments", ["inspect", MODEL, MODEL], "too many arguments"],
    ["no output folder", ["compress", MODEL], "-o, --out <folder>"],
    ["keep beyond 1", ["compress", MODEL, "-o", "x", "--keep", "1.5"], "(0, 1]"],
    ["keep without a number", ["compress", MODEL, "-o", "x", "--keep", "most"], "(0, 1]"],
    ["memory without a size", ["evaluate", MODEL, "--text", "x", "--memory", "lots"], "8G"],
    ["no text", ["evaluate", MODEL], "--text <file>"],
    ["an unknown choice", ["compress", MODEL, "-o", "x", "--dtype", "int4"], "Allowed choices are f32, bf16, f16"],
    ["no command", [], "Usage: rankfold"],
  ])("%s", (_what, args, line) => {
    const { status, stdout, stderr } = rankfold(...args);
    expect(stderr).toContain(line);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  });
});

test("--help and --version end with 0", () => {
  expect(rankfold("--help")).toMatchObject({
    status: 0,
    stdout: expect.stringContaining("compress [options] <model>"),
    stderr: "",
  });
  expect(rankfold("--version")).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), stderr: "" });
});

test("a model that is not there ends with 1 and one line", () => {
  const { status, stdout, stderr } = rankfold("inspect", join(folder, "nowhere"));
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toMatch(/^rankfold: .*nowhere.*\n$/);
});

test("--json prints exactly one JSON object on stdout", () => {
  const { status, stdout } = rankfold("evaluate", MODEL, "--text", textFile("short.txt", 200), "--window", "64", "--json");
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ model: MODEL, parameters: 5475584, texts: [{ window: 64 }] });
});

test("--tasks scores questions, without a text", () => {
  const file = join(folder, "own.jsonl");
  const question = { context: "The Congress of the", choices: ["United States", "whale"], label: 0 };
  writeFileSync(file, `${JSON.stringify(question)}\n`.repeat(3));
  const { status, stdout } = rankfold("evaluate", MODEL, "--tasks", `${file},${file}`, "--limit", "2", "--json");
  expect(status).toBe(0);
  const score = { file, task: "multiple_choice", rows: 2, bos: false, acc: 1, accStderr: 0 };
  expect(JSON.parse(stdout)).toMatchObject({ texts: [], tasks: [score, score] });
});

test("--quiet leaves stderr empty", () => {
  expect(rankfold("inspect", MODEL, "--quiet")).toMatchObject({ status: 0, stderr: "" });
});

test("Ctrl-C ends with 130", async () => {
  const args = [PROGRAM, "evaluate", MODEL, "--text", textFile("long.txt", 6000), "--window", "512"];
  const run = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  run.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  run.stderr.on("data", (chunk) => {
    stderr += chunk;
    if (stderr.includes("window") && !run.killed) run.kill("SIGINT");
  });
  const code = await new Promise((resolve) => run.on("exit", resolve));
  expect({ code, stdout }).toEqual({ code: 130, stdout: "" });
  expect(stderr).toContain("rankfold: interrupted");
});

test("a clone that is not built says so in one line", () => {
  cpSync(PROGRAM, join(folder, "bin/rankfold.js"));
  writeFileSync(join(folder, "package.json"), '{"type":"module"}');
  const { status, stderr } = spawnSync(process.execPath, [join(folder, "bin/rankfold.js"), "demo"], { encoding: "utf8" });
  expect(status).toBe(1);
  expect(stderr).toMatch(/^rankfold is not built yet: run `npm run build`.*\n$/);
});
