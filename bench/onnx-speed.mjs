/**
 * Tokens a second of exported models in onnxruntime-node, a prompt at once and then one by one, and the size of their files.
 *
 *   node bench/onnx-speed.mjs MODEL... [--dtypes fp32,q8,q4] [--rounds 5] [--prompt 128] [--tokens 32]
 *
 * The first MODEL, the dense one, is what the others are compared with. Models take turns within a round; medians are printed,
 * and medians of the ratios round by round, which a busy machine disturbs less. Only a quiet machine gives times worth keeping.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { openOnnx } from "../dist/evaluate/onnxruntime.js";
import { exportModel, loadModel } from "../dist/index.js";

const { positionals: models, values } = parseArgs({
  allowPositionals: true,
  options: {
    dtypes: { type: "string", default: "fp32,q8,q4" },
    rounds: { type: "string", default: "5" },
    prompt: { type: "string", default: "128" },
    tokens: { type: "string", default: "32" },
  },
});
if (models.length === 0) {
  console.error("usage: node bench/onnx-speed.mjs MODEL... [--dtypes fp32,q8,q4]");
  process.exit(2);
}
const dtypes = values.dtypes.split(",");
const [rounds, promptTokens, newTokens] = [values.rounds, values.prompt, values.tokens].map(Number);
const TEXT = readFileSync(new URL("../LICENSE", import.meta.url), "utf8");
const work = mkdtempSync(join(tmpdir(), "rankfold-speed-"));

/** Tokens a second: the whole prompt at once, then greedily one by one. */
async function speeds(decoder, prompt) {
  decoder.restart();
  const start = performance.now();
  let logits = await decoder.advance(prompt);
  const read = performance.now();
  const vocabulary = logits.length / prompt.length;
  for (let i = 0; i < newTokens; i++) {
    const last = logits.subarray(logits.length - vocabulary);
    logits = await decoder.advance([last.reduce((best, value, id) => (value > last[best] ? id : best), 0)]);
  }
  const end = performance.now();
  return { prompt: (1000 * prompt.length) / (read - start), one: (1000 * newTokens) / (end - read) };
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

async function prepare(model, dtype, n) {
  const out = join(work, String(n));
  const { models: written } = await exportModel({ model, to: "onnx", out, dtype: [dtype], verify: false });
  const { tokenizer, checkpoint } = await loadModel(model);
  checkpoint.close();
  const decoder = await openOnnx(join(out, written[0].files[0]));
  const prompt = [...tokenizer.encode(TEXT).slice(0, promptTokens)];
  await speeds(decoder, prompt); // warms up
  return { model, dtype, bytes: written[0].bytes, decoder, prompt, rounds: [] };
}

console.log(
  `${cpus()[0]?.model}, ${availableParallelism()} threads, Node ${process.version}, ${new Date().toISOString().slice(0, 10)}, ` +
    `load ${loadavg()[0].toFixed(1)}; ${promptTokens} tokens at once, then ${newTokens} one by one, ${rounds} rounds\n`,
);
console.log("| model | dtype | MB | tokens/s at once | one by one | ratio at once | ratio one by one |");
console.log("| --- | --- | --- | --- | --- | --- | --- |");
// One dtype at a time: the models of one fit in memory together.
for (const dtype of dtypes) {
  const runs = [];
  for (const model of models) runs.push(await prepare(model, dtype, `${dtype}-${runs.length}`));
  for (let round = 0; round < rounds; round++) for (const run of runs) run.rounds.push(await speeds(run.decoder, run.prompt));
  for (const run of runs) {
    const speed = (what) => median(run.rounds.map((row) => row[what])).toFixed(1);
    const ratio = (what) => median(run.rounds.map((row, i) => row[what] / runs[0].rounds[i][what])).toFixed(2);
    const facts = [basename(run.model), dtype, (run.bytes / 1e6).toFixed(1), speed("prompt"), speed("one")];
    console.log(`| ${[...facts, ratio("prompt"), ratio("one")].join(" | ")} |`);
  }
  for (const { decoder } of runs) await decoder.close();
}
rmSync(work, { recursive: true });
