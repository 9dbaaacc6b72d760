/**
 * One model in every runtime: perplexity of the same windows by rankfold, by PyTorch, and by onnxruntime in fp32, q8 and q4,
 * with the bytes of what was run. Prints two tables: by runtime, and by bytes.
 *
 *   node bench/runtimes.mjs MODEL --text TEXT --statistics STATISTICS --work FOLDER --python PYTHON
 *       [--cells dense,nsvd-i@0.8,...] [--runtimes rankfold,pytorch,fp32,q8,q4] [--window 1024] [--max-windows 10]
 *
 * STATISTICS is what `rankfold calibrate MODEL` wrote; PYTHON an environment with bench/peers/requirements.txt. A cell is
 * METHOD@KEEP; `auto` is svd-llm with `--allocate auto`, `rom` has its bias (`--center mean`) and, to share the statistics,
 * `--propagate original`. FOLDER keeps the compressed models and what was measured: the same command goes on where it stopped.
 */
import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { openOnnx } from "../dist/evaluate/onnxruntime.js";
import { exportModel, loadModel } from "../dist/index.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    text: { type: "string" },
    statistics: { type: "string" },
    work: { type: "string" },
    python: { type: "string", default: "python3" },
    cells: { type: "string", default: "dense,rom@0.8,nsvd-i@0.8,rom@0.5,nsvd-i@0.5" },
    runtimes: { type: "string", default: "rankfold,pytorch,fp32,q8,q4" },
    window: { type: "string", default: "1024" },
    "max-windows": { type: "string", default: "10" },
  },
});
const [model] = positionals;
const { text, statistics, work } = values;
if (!model || !text || !statistics || !work) {
  console.error("usage: node bench/runtimes.mjs MODEL --text TEXT --statistics STATISTICS --work FOLDER --python PYTHON");
  process.exit(2);
}
const window = Number(values.window);
const maxWindows = Number(values["max-windows"]);
const cells = values.cells.split(",");
const runtimes = values.runtimes.split(",");
mkdirSync(work, { recursive: true });

// --- models -----------------------------------------------------------------------------------------------------------

const OPTIONS = {
  rom: ["--method", "rom", "--center", "mean", "--propagate", "original"],
  auto: ["--method", "svd-llm", "--allocate", "auto"],
};

/** The folder of a cell, made once. */
function folderOf(cell) {
  if (cell === "dense") return model;
  const [method, keep] = cell.split("@");
  const out = join(work, `${method}-${keep}`);
  const options = [...(OPTIONS[method] ?? ["--method", method]), "--keep", keep, "--dtype", "f32", "--statistics", statistics];
  if (!existsSync(out)) rankfold("compress", model, "-o", out, ...options, "--json");
  return out;
}

const rankfold = (...args) => run(process.execPath, [join(root, "bin/rankfold.js"), ...args, "--quiet"]);

/** The JSON that a program prints last. */
function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 1e9 });
  if (status !== 0) {
    console.error(`${command} ${args.join(" ")}\n${stderr}`);
    process.exit(1);
  }
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
}

// --- runtimes: perplexity, and bytes of the weights ------------------------------------------------------------------

const windows = ["--window", String(window), "--max-windows", String(maxWindows)];

async function measure(folder, runtime) {
  if (runtime === "rankfold") {
    const { bytes, texts } = rankfold("evaluate", folder, "--text", text, ...windows, "--json");
    return { bytes, perplexity: texts[0].perplexity };
  }
  if (runtime === "pytorch") {
    const { perplexity } = run(values.python, [join(root, "bench/peers/reference.py"), "perplexity", folder, text, ...windows]);
    return { bytes: null, perplexity };
  }
  return onnx(folder, runtime);
}

async function onnx(folder, dtype) {
  const out = join(work, `onnx-${process.pid}`);
  const { models } = await exportModel({ model: folder, to: "onnx", out, dtype: [dtype], verify: false });
  const { tokenizer, checkpoint } = await loadModel(folder);
  checkpoint.close();
  const decoder = await openOnnx(join(out, models[0].files[0]));
  try {
    return { bytes: models[0].bytes, perplexity: await perplexity(decoder, tokenizer.encode(readFileSync(text, "utf8"))) };
  } finally {
    await decoder.close();
    rmSync(out, { recursive: true });
  }
}

/** As src/evaluate/perplexity.ts defines it. */
async function perplexity(decoder, tokens) {
  const count = Math.min(maxWindows, Math.floor(tokens.length / window));
  let total = 0;
  for (let i = 0; i < count; i++) {
    const part = tokens.slice(i * window, (i + 1) * window);
    decoder.restart();
    const logits = await decoder.advance([...part]);
    const vocabulary = logits.length / window;
    for (let t = 0; t < window - 1; t++) total += nll(logits.subarray(t * vocabulary, (t + 1) * vocabulary), part[t + 1]);
  }
  return Math.exp(total / (count * (window - 1)));
}

function nll(logits, target) {
  const max = logits.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const sum = logits.reduce((all, value) => all + Math.exp(value - max), 0);
  return max + Math.log(sum) - logits[target];
}

// --- measuring, once ---------------------------------------------------------------------------------------------------

const journal = join(work, "runtimes.jsonl");
const lines = existsSync(journal) ? readFileSync(journal, "utf8").trim().split("\n") : [];
const measured = new Map(lines.map((line) => JSON.parse(line)).map((row) => [row.key, row]));

for (const cell of cells) {
  for (const runtime of runtimes) {
    const key = [cell, runtime, basename(text), window, maxWindows].join(" ");
    if (measured.has(key)) continue;
    const row = { key, cell, runtime, ...(await measure(folderOf(cell), runtime)) };
    measured.set(key, row);
    appendFileSync(journal, `${JSON.stringify(row)}\n`);
    console.error(`${key}: ${row.perplexity.toFixed(4)}`);
  }
}

// --- tables ------------------------------------------------------------------------------------------------------------

const rows = [...measured.values()].filter(
  ({ key, cell, runtime }) =>
    cells.includes(cell) && runtimes.includes(runtime) && key.endsWith(` ${basename(text)} ${window} ${maxWindows}`),
);
const of = (cell, runtime) => rows.find((row) => row.cell === cell && row.runtime === runtime);
const isFloat = (runtime) => ["rankfold", "pytorch", "fp32"].includes(runtime);
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

function table(heads, body) {
  console.log([heads, heads.map(() => "---"), ...body].map((line) => `| ${line.join(" | ")} |`).join("\n"));
}

/** How far the f32 runtimes lie apart, relative to the least. */
function spread(cell) {
  const found = runtimes.filter(isFloat).map((runtime) => of(cell, runtime).perplexity);
  return Math.max(...found) / Math.min(...found) - 1;
}

console.log(`\n${basename(model)}, ${basename(text)}, first ${maxWindows} windows of ${window}\n`);
table(
  ["model", ...runtimes, "f32 runtimes apart"],
  cells.map((cell) => [
    cell,
    ...runtimes.map((runtime) => of(cell, runtime).perplexity.toFixed(3)),
    `${(100 * spread(cell)).toFixed(4)} %`,
  ]),
);

/** Nothing smaller, or as small, is better. */
const isBest = (row) => !files.some((other) => other !== row && other.bytes <= row.bytes && other.perplexity < row.perplexity);
const files = rows.filter(({ runtime }) => !["rankfold", "pytorch"].includes(runtime)).sort((a, b) => a.bytes - b.bytes);

console.log("\nBy bytes of the ONNX files; bold: nothing of its size or below is better\n");
table(
  ["MB", "model", "dtype", "perplexity"],
  files.map((row) => {
    const line = [megabytes(row.bytes), row.cell, row.runtime, row.perplexity.toFixed(2)];
    return isBest(row) ? line.map((item) => `**${item}**`) : line;
  }),
);
if (cells.some((cell) => spread(cell) > 1e-3)) {
  console.error("runtimes: f32 runtimes differ by more than 0.1 %");
  process.exitCode = 1;
}
