/**
 * Time a block and peak memory at the shape of a large model, its weights random: a row for each METHOD:BLOCKS.
 *
 *   node bench/blocks.mjs --shape llama-7b --rows svd-llm:2,svd-llm:4,nsvd-i:2,rom:2 [--samples 128] [--window 512] [--memory 6G]
 *
 * A method alone means all blocks of the shape.
 * Prints as it goes. Ctrl-C stops it; the same command goes on with the rows that are missing, `--fresh` forgets them.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { commit, fail, gemmPeakApart, publicText, publish, rankfold, table, typed, WORK } from "./common.mjs";
import { SHAPES, writeRandomModel } from "./random-model.mjs";

const { values } = parseArgs({
  options: {
    shape: { type: "string", default: "llama-7b" },
    rows: { type: "string", default: "svd-llm" },
    samples: { type: "string", default: "128" },
    window: { type: "string", default: "512" },
    keep: { type: "string", default: "0.8" },
    memory: { type: "string" },
    fresh: { type: "boolean", default: false },
  },
});
const shape = SHAPES[values.shape] ?? fail(`--shape: one of ${Object.keys(SHAPES).join(", ")}`);
mkdirSync(WORK, { recursive: true });
const text = publicText();

/** The model, made once; a folder that a stop left half written is made anew. */
function modelOf(blocks) {
  const folder = join(WORK, `${values.shape}-${blocks}`);
  const whole = join(folder, "whole");
  if (existsSync(whole)) return folder;
  console.error(`writing a random ${values.shape} of ${blocks} blocks`);
  rmSync(folder, { recursive: true, force: true });
  writeRandomModel(folder, { ...shape, num_hidden_layers: blocks });
  writeFileSync(whole, "");
  return folder;
}

function row(method, blocks) {
  const saved = join(
    WORK,
    `${values.shape}-${blocks}-${method}-${values.samples}x${values.window}-${values.memory ?? "free"}.json`,
  );
  if (existsSync(saved) && !values.fresh) return JSON.parse(readFileSync(saved, "utf8"));
  const model = modelOf(blocks);
  const out = join(WORK, "out");
  for (const left of [out, `${out}.partial`]) rmSync(left, { recursive: true, force: true });
  console.error(`${values.shape}, ${blocks} blocks, ${method}`);
  const args = ["compress", model, "-o", out, "--method", method, "--keep", values.keep, "--calibration", text];
  const options = [...args, "--samples", values.samples, "--window", values.window];
  if (values.memory) options.push("--memory", values.memory);
  const { peakBytes, activations } = rankfold(...options, "--dry-run");
  const { seconds, stages, peakRssBytes, parameters } = rankfold(...options);
  rmSync(out, { recursive: true });
  const here = { commit: commit(), peak: gemmPeakApart() };
  const measured = { method, blocks, seconds, stages, peakRssBytes, peakBytes, activations, parameters, ...here };
  writeFileSync(saved, JSON.stringify(measured));
  console.error(JSON.stringify(measured));
  return measured;
}

/** f32 operations of one block's forward pass: the projections, and both products of causal attention. */
function forwardFlops(tokens) {
  const { hidden_size: d, intermediate_size: f, num_attention_heads: heads, num_key_value_heads: groups } = shape;
  const weights = 2 * d * d * (1 + groups / heads) + 3 * d * f;
  return tokens * (2 * weights + 2 * d * Number(values.window));
}

const measured = values.rows.split(",").map((wanted) => {
  const [method, blocks = shape.num_hidden_layers] = wanted.split(":");
  return row(method, Number(blocks));
});
const tokens = Number(values.samples) * Number(values.window);
const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(2)} GB`;
const rows = measured.map(({ method, blocks, seconds, stages, peak, ...row }) => {
  const a = (stage) => (stages[stage] / blocks).toFixed(1);
  // Propagating compressed inputs runs most of the block twice; what that takes is in the time and not in this count.
  const rate = (forwardFlops(tokens) * blocks) / stages.forward / 1e9;
  return [
    ...[method, blocks, (seconds / blocks).toFixed(1), a("forward"), a("statistics"), a("factorize"), a("write")],
    ...[`${((100 * rate) / peak).toFixed(0)} % of ${peak.toFixed(0)}`, gigabytes(row.peakRssBytes), gigabytes(row.peakBytes)],
    ...[row.activations, row.commit],
  ];
});
const header = ["method", "blocks", "s a block", "forward", "statistics", "factorize", "write", "forward, of the peak"];
const body = table([...header, "peak memory", "predicted", "activations in", "commit"], rows);
const about = `${tokens} calibration tokens, keep ${values.keep}. Commit and peak (f32 matrix products, GFLOP/s) are those of when the row was run.`;
publish(`blocks-${values.shape}`, `Blocks of ${values.shape}, random weights`, typed("blocks.mjs"), `${body}\n\n${about}`);
