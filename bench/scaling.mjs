/**
 * How time and memory grow with calibration tokens, with the model's width and with its blocks, on small random models.
 *
 *   node bench/scaling.mjs [--method svd-llm]
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { megabytes, publicText, publish, rankfold, table, typed } from "./common.mjs";
import { writeRandomModel } from "./random-model.mjs";

const { values } = parseArgs({ options: { method: { type: "string", default: "svd-llm" } } });
const work = mkdtempSync(join(tmpdir(), "rankfold-scaling-"));
const text = publicText();

function modelOf(width, blocks) {
  const folder = join(work, `${width}-${blocks}`);
  const heads = width / 64;
  const shape = { hidden_size: width, intermediate_size: 2.75 * width, num_hidden_layers: blocks, vocab_size: 8192 };
  if (!existsSync(folder)) {
    mkdirSync(folder);
    writeRandomModel(folder, { ...shape, num_attention_heads: heads, num_key_value_heads: heads });
  }
  return folder;
}

function row({ width, blocks, samples }) {
  const out = join(work, "out");
  const args = ["-o", out, "--method", values.method, "--calibration", text, "--samples", String(samples), "--window", "512"];
  const { seconds, stages, peakRssBytes } = rankfold("compress", modelOf(width, blocks), ...args, "--quiet");
  rmSync(out, { recursive: true });
  const times = ["forward", "statistics", "factorize", "write"].map((stage) => stages[stage].toFixed(2));
  const cells = [width, blocks, samples * 512, seconds.toFixed(2), ...times, megabytes(peakRssBytes)];
  console.error(cells.join("  "));
  return cells;
}

const base = { width: 512, blocks: 4, samples: 32 };
const series = [
  ...[16, 32, 64, 128].map((samples) => ({ ...base, samples })),
  ...[256, 1024].map((width) => ({ ...base, width })),
  ...[2, 8].map((blocks) => ({ ...base, blocks })),
];
const rows = series.map(row);
rmSync(work, { recursive: true });
const header = ["width", "blocks", "tokens", "seconds", "forward", "statistics", "factorize", "write", "peak memory"];
publish(
  "scaling",
  "How it scales",
  typed("scaling.mjs"),
  `${table(header, rows)}\n\nMethod ${values.method}; MLP of 2.75 widths.`,
);
