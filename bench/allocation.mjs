/**
 * Allocators compared on the same replacements: perplexity of every method with every allocator at every keep, from stored statistics.
 *
 *   node bench/allocation.mjs MODEL --statistics DIR --out FILE.json --text wiki.txt:10,ptb.txt:5
 *     [--methods svd-llm] [--allocators uniform,energy] [--keeps 0.9,0.8,0.6] [--window 1024] [--cells 6] [--trials 50]
 *
 * TEXT:N takes the first N windows. What is in FILE.json already is not measured again, so a killed run continues; `cells` cells
 * share one pass over the blocks, with one decomposition of each projection. Prints the table, as bench/results.mjs does.
 */
import { existsSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { loadModel } from "../dist/models/load.js";
import { evaluationText } from "../dist/pipeline/evaluation-text.js";
import { silentJob } from "../dist/pipeline/job.js";
import { parseOptions } from "../dist/pipeline/options.js";
import { openStatistics } from "../dist/pipeline/stored-statistics.js";
import { CellMeasurement } from "../dist/pipeline/sweep-cell.js";
import { sweepOptions } from "../dist/pipeline/sweep-options.js";
import { runPass } from "../dist/pipeline/sweep-pass.js";
import { planCells } from "../dist/pipeline/sweep-plan.js";
import { need, table, writeWhole } from "./common.mjs";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    statistics: { type: "string" },
    out: { type: "string" },
    text: { type: "string" },
    allocators: { type: "string", default: "uniform,energy,svd-llm-v2,d-rank,strs,kl" },
    keeps: { type: "string", default: "0.9,0.8,0.6" },
    methods: { type: "string", default: "svd-llm" },
    window: { type: "string", default: "1024" },
    cells: { type: "string", default: "6" },
    trials: { type: "string", default: "50" },
  },
});
const [path] = positionals;
need(
  path && values.statistics && values.out && values.text,
  "node bench/allocation.mjs MODEL --statistics DIR --out FILE.json --text wiki.txt:10,ptb.txt:5",
);

const stages = ({ stage, done, total }) => done % 5 === 0 && console.error(stage, `${done}/${total}`);
const job = { ...silentJob, progress: stages };
const model = await loadModel(path, silentJob);
const statistics = openStatistics(values.statistics, model);
const texts = values.text.split(",").map((source) => {
  const [file, windows] = source.split(":");
  return evaluationText(model, file, { window: Number(values.window), maxWindows: Number(windows) }, silentJob);
});
const optionsOf = (method, allocate, keeps) => {
  const given = { model: path, out: "-", methods: [method], texts: texts.map(({ file }) => file), dtype: "f32" };
  return parseOptions(sweepOptions, { ...given, allocate, keeps, trials: Number(values.trials) });
};

const results = existsSync(values.out) ? JSON.parse(readFileSync(values.out, "utf8")) : [];
const isThere = (cell) => results.some((row) => ["method", "allocate", "keep"].every((key) => row[key] === cell[key]));

/** One method's cells, as many together as `cells` says: they share its decompositions. */
function measureMethod(method) {
  const cells = values.allocators.split(",").flatMap((allocate) => {
    const keeps = values.keeps.split(",").map(Number);
    const missing = keeps.filter((keep) => !isThere({ method, allocate, keep }));
    const planned = missing.length > 0 ? planCells(model, optionsOf(method, allocate, missing), method, statistics, job) : [];
    return planned.map((cell) => ({ allocate, measurement: new CellMeasurement(cell, { texts, tasks: [] }) }));
  });
  for (let first = 0; first < cells.length; first += Number(values.cells))
    measureTogether(method, cells.slice(first, first + Number(values.cells)));
}

function measureTogether(method, cells) {
  const items = cells.flatMap(({ measurement }) => measurement.items);
  const stage = cells.map(({ allocate, measurement }) => `${method}/${allocate}@${measurement.cell.keep}`).join(" ");
  runPass({ model, options: optionsOf(method, "uniform", [1]), statistics, items, job, stage });
  for (const { allocate, measurement } of cells) {
    const { keep, plan } = measurement.cell;
    const scores = measurement.scores().texts.map(({ perplexity }, i) => ({ text: basename(texts[i].file), perplexity }));
    results.push({ method, allocate, keep, kept: plan.summary.keptProjections, texts: scores });
  }
  writeWhole(values.out, results);
}

for (const method of values.methods.split(",")) measureMethod(method);

const rows = results.map(({ method, allocate, keep, kept, texts: scores }) => {
  return [method, allocate, keep, kept.toFixed(4), ...scores.map(({ perplexity }) => perplexity.toFixed(2))];
});
console.log(table(["method", "allocator", "keep", "kept", ...texts.map(({ file }) => basename(file))], rows));
