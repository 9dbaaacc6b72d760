/**
 * Generation: tokens a second of a prompt (prefill) and of what follows it one by one (decode, batch 1), dense and compressed,
 * against PyTorch in the same run and against the share of the parameters that is left.
 *
 *   node bench/generate.mjs MODEL --python PYTHON [--keeps 0.8,0.6,0.4] [--also FOLDER,...] [--prompt 512] [--tokens 64] [--rounds 3]
 *
 * Factors come from the plain SVD: their values do not matter to the speed. `--also` names models that were compressed otherwise, of
 * any shapes; PyTorch has no part in their rows.
 */
import { existsSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Decoder } from "../dist/evaluate/decoder.js";
import { loadModel } from "../dist/models/load.js";
import { measure, median, need, peer, publish, rankfold, table, typed, WORK } from "./common.mjs";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string", default: "python3" },
    keeps: { type: "string", default: "0.8,0.6,0.4" },
    also: { type: "string", default: "" },
    prompt: { type: "string", default: "512" },
    tokens: { type: "string", default: "64" },
    rounds: { type: "string", default: "3" },
    alone: { type: "boolean", default: false },
  },
});
const model = need(positionals[0], "node bench/generate.mjs MODEL --python PYTHON");
const [prompt, tokens] = [Number(values.prompt), Number(values.tokens)];

/** One model in a process of its own: a second prompt is timed, after one that warms up. */
async function alone() {
  const loaded = await loadModel(model);
  const ids = Uint32Array.from({ length: prompt }, (_, i) => (i * 97) % loaded.config.vocabulary);
  const seconds = (work) => {
    const start = performance.now();
    work();
    return (performance.now() - start) / 1000;
  };
  const warming = new Decoder(loaded);
  warming.advance(ids);
  warming.dispose();
  const decoder = new Decoder(loaded);
  const prefill = prompt / seconds(() => decoder.advance(ids));
  const decode = seconds(() => {
    for (let i = 0; i < tokens; i++) decoder.advance(ids.subarray(i, i + 1));
  });
  console.log(JSON.stringify({ prefill, decode: tokens / decode, parameters: loaded.parameters }));
}

const own = (path) => [fileURLToPath(import.meta.url), path, "--alone", "--prompt", values.prompt, "--tokens", values.tokens];

function compressed(keep) {
  const out = join(WORK, `${basename(model)}-svd-${keep}`);
  mkdirSync(WORK, { recursive: true });
  if (!existsSync(out)) rankfold("compress", model, "-o", out, "--method", "svd", "--keep", keep, "--quiet");
  return out;
}

function round({ path, factors }) {
  const ours = measure(process.execPath, own(path));
  const theirs =
    factors && peer(values.python, "generate", model, ...factors, "--prompt", values.prompt, "--tokens", values.tokens);
  console.error(`${basename(path)}: ${JSON.stringify({ ours, theirs })}`);
  return { ours, theirs };
}

function compare() {
  const cells = [{ name: "dense", path: model, factors: [] }];
  for (const keep of values.keeps.split(",")) {
    const path = compressed(keep);
    cells.push({ name: `keep ${keep}`, path, factors: ["--factors", join(path, "model.safetensors")] });
  }
  for (const path of values.also.split(",").filter(Boolean)) cells.push({ name: basename(path), path });
  const rounds = Array.from({ length: Number(values.rounds) }, () => cells.map(round));
  const of = (cell, who, what) => median(rounds.map((results) => results[cell][who]?.[what] ?? Number.NaN));
  const shown = (value, digits) => (Number.isNaN(value) ? "" : value.toFixed(digits));
  const rows = cells.map(({ name }, i) => {
    const share = of(i, "ours", "parameters") / of(0, "ours", "parameters");
    const speed = (what) => {
      const [ours, theirs] = [of(i, "ours", what), of(i, "theirs", what)];
      return [ours.toFixed(0), `${(ours / of(0, "ours", what)).toFixed(2)} x`, shown(theirs, 0), shown(ours / theirs, 2)];
    };
    return [name, share.toFixed(3), ...speed("prefill"), ...speed("decode")];
  });
  const columns = (what) => [`${what}, tokens/s`, "of dense", "PyTorch", "ratio"];
  const header = ["", "parameters", ...columns("prefill"), ...columns("decode")];
  publish("generate", "Generation, dense and compressed", typed("generate.mjs"), table(header, rows));
}

if (values.alone) await alone();
else compare();
