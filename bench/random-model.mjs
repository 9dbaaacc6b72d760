/**
 * A random model of any Llama shape, in sharded safetensors, one tensor in memory at a time: for measuring time and memory at
 * sizes whose weights nobody needs to fetch. Its weights have the decaying spectra of trained ones, known exactly.
 *
 *   node bench/random-model.mjs OUT --shape llama-7b --blocks 2 [--seed 0] [--decay 0.5] [--tokenizer MODEL]
 *
 * A weight is Q1 Sigma Q2 with sigma_i = i^-decay and Q1, Q2 products of random plane rotations. The tokenizer is that of
 * the embedded model: ids above its vocabulary are never used.
 */
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { SafetensorsWriter } from "../dist/formats/safetensors-writer.js";
import { parseModelConfig } from "../dist/models/registry.js";
import { modelTensors } from "../dist/models/weights.js";
import { mulberry32 } from "../dist/random.js";
import { Tensor } from "../dist/tensor/index.js";

const EMBEDDED = fileURLToPath(new URL("../assets/pequod-5m", import.meta.url));

const shape = ([d, f, blocks, heads, keyValueHeads, vocabulary]) => ({
  hidden_size: d,
  intermediate_size: f,
  num_hidden_layers: blocks,
  num_attention_heads: heads,
  num_key_value_heads: keyValueHeads,
  vocab_size: vocabulary,
});

/** Published shapes, by name. */
export const SHAPES = {
  "llama-7b": shape([4096, 11_008, 32, 32, 32, 32_000]),
  "tinyllama-1.1b": shape([2048, 5632, 22, 32, 4, 32_000]),
  "smollm2-135m": shape([576, 1536, 30, 9, 3, 49_152]),
};

/** Random rotations of the planes (i, i + 2^r) for r = 0, 1, ...: each row, or column, is mixed with every other. */
function planes(n, random) {
  const first = [];
  const second = [];
  for (let stride = 1; stride < n; stride *= 2) {
    for (let i = 0; i + stride < n; i++) {
      if (Math.floor(i / stride) % 2 === 1) continue;
      first.push(i);
      second.push(i + stride);
    }
  }
  const angles = Float64Array.from(first, () => 2 * Math.PI * random());
  const [cos, sin] = [angles.map(Math.cos), angles.map(Math.sin)];
  return { first: Uint32Array.from(first), second: Uint32Array.from(second), cos, sin };
}

/** Turns row by row: the values of a row, one plane after the other. */
function rotateColumns(W, n, { first, second, cos, sin }) {
  for (let at = 0; at < W.length; at += n) {
    for (let r = 0; r < first.length; r++) {
      const i = at + first[r];
      const j = at + second[r];
      const a = W[i];
      W[i] = cos[r] * a - sin[r] * W[j];
      W[j] = sin[r] * a + cos[r] * W[j];
    }
  }
}

/** Turns two rows against each other, plane by plane. */
function rotateRows(W, n, { first, second, cos, sin }) {
  for (let r = 0; r < first.length; r++) {
    const [i, j] = [first[r] * n, second[r] * n];
    const [c, s] = [cos[r], sin[r]];
    for (let k = 0; k < n; k++) {
      const a = W[i + k];
      W[i + k] = c * a - s * W[j + k];
      W[j + k] = s * a + c * W[j + k];
    }
  }
}

/** m x n, singular values i^-decay, scaled so that its rows are of length 1/2: activations neither grow nor vanish. */
export function decayingMatrix(m, n, decay, random) {
  const W = new Float32Array(m * n);
  const rank = Math.min(m, n);
  const sigma = Array.from({ length: rank }, (_, i) => (i + 1) ** -decay);
  const scale = Math.sqrt(m) / 2 / Math.hypot(...sigma);
  for (let i = 0; i < rank; i++) W[i * n + i] = sigma[i] * scale;
  rotateColumns(W, n, planes(n, random));
  rotateRows(W, n, planes(m, random));
  return W;
}

function valuesOf(name, dims, { decay, random }) {
  if (name.endsWith("norm.weight")) return new Float32Array(dims[0]).fill(1);
  if (dims.length === 1) return new Float32Array(dims[0]);
  if (name.includes("embed_tokens") || name.includes("lm_head"))
    return Float32Array.from({ length: dims[0] * dims[1] }, () => (random() - 0.5) / 8);
  return decayingMatrix(dims[0], dims[1], decay, random);
}

/** Writes the model into a folder that does not exist. @param json the keys of config.json that say its shape. */
export function writeRandomModel(folder, json, { seed = 0, decay = 0.5, dtype = "bf16", tokenizer = EMBEDDED, shardBytes } = {}) {
  const config = {
    ...{ architectures: ["LlamaForCausalLM"], model_type: "llama", hidden_act: "silu", rms_norm_eps: 1e-5 },
    ...{ max_position_embeddings: 4096, rope_theta: 10_000, tie_word_embeddings: false, torch_dtype: "bfloat16" },
    ...json,
  };
  const parsed = parseModelConfig(config);
  const tensors = [...modelTensors(parsed.architecture, parsed.config)].map(([name, dims]) => ({ name, shape: dims, dtype }));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
  for (const file of ["tokenizer.json", "tokenizer_config.json"])
    if (existsSync(join(tokenizer, file))) copyFileSync(join(tokenizer, file), join(folder, file));
  const writer = SafetensorsWriter.create(folder, { tensors, shardBytes });
  const random = mulberry32(seed + 1);
  for (const { name, shape: dims } of tensors) {
    const tensor = Tensor.from(valuesOf(name, dims, { decay, random }), dims);
    writer.write(name, tensor);
    tensor.dispose();
  }
  writer.finish();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      shape: { type: "string", default: "llama-7b" },
      blocks: { type: "string" },
      seed: { type: "string", default: "0" },
      decay: { type: "string", default: "0.5" },
      tokenizer: { type: "string" },
    },
  });
  const json = SHAPES[values.shape];
  if (!positionals[0] || !json) {
    console.error(`usage: node bench/random-model.mjs OUT --shape ${Object.keys(SHAPES).join("|")} [--blocks N]`);
    process.exit(2);
  }
  const blocks = values.blocks ? { num_hidden_layers: Number(values.blocks) } : {};
  const options = { seed: Number(values.seed), decay: Number(values.decay), tokenizer: values.tokenizer };
  writeRandomModel(positionals[0], { ...json, ...blocks }, options);
  console.log(positionals[0]);
}
