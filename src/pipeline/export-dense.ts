/** `export --to dense`: factors multiplied back, under the model's original type. Every program loads it; it saves nothing. */

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { UnsupportedError } from "../errors.ts";
import { logitDifference } from "../evaluate/logit-difference.ts";
import { SafetensorsWriter } from "../formats/safetensors-writer.ts";
import { storage } from "../formats/storage.ts";
import type { Json } from "../models/config.ts";
import { type Places, placesOf } from "../models/head-rows.ts";
import { type Companion, loadModel, type Model } from "../models/load.ts";
import type { Linear, ModelConfig, ProjectionShape } from "../models/model.ts";
import { parseModelConfig } from "../models/registry.ts";
import { blockPrefix, modelTensors, outerTensors, readBlock, storedTensors } from "../models/weights.ts";
import { scope, Tensor, vcat } from "../tensor/index.ts";
import type { DenseDType } from "./export-options.ts";
import type { ExportedModel, LogitCheck } from "./export-results.ts";
import { formatsOf } from "./inspect.ts";
import type { Job } from "./job.ts";
import { stopwatch } from "./measure.ts";
import { originalConfig } from "./original-config.ts";
import { logitsOfTokens, referenceLogits, requireEqual } from "./verify-export.ts";
import { TORCH_DTYPES, writeCompanion } from "./write-model.ts";

export interface DenseOptions {
  readonly dtype: DenseDType | undefined;
  readonly verify: boolean;
}

/** Fills the folder. */
export async function exportDense(model: Model, folder: string, options: DenseOptions, job: Job): Promise<ExportedModel> {
  const elapsed = stopwatch();
  const dtype = options.dtype ?? nativeDtype(model);
  const json = denseConfig(model, dtype);
  const { config } = parseModelConfig(json);
  writeWeights(model, config, folder, dtype, job);
  const files = readdirSync(folder);
  const companions = new Map<string, Companion>([...model.companions, ["config.json", { json }]]);
  for (const [name, file] of companions) storage(join(folder, name), () => writeCompanion(join(folder, name), file));
  job.note("a dense export saves nothing: each pair of factors is one whole matrix again");
  const bytes = files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  const check = options.verify ? await verify(model, folder, dtype) : null;
  return { dtype, files, bytes, paddingBytes: 0, seconds: elapsed(), check };
}

/** What most of the model is stored in; bf16 for a quantised one. */
function nativeDtype(model: Model): DenseDType {
  const format = formatsOf(model)[0];
  return format === "f32" || format === "f16" ? format : "bf16";
}

/** The original config, saying which projections have a bias now. */
function denseConfig(model: Model, dtype: DenseDType): Json {
  const added = [...model.config.addedBiases];
  const json: Json = { ...originalConfig(model), torch_dtype: TORCH_DTYPES[dtype], dtype: TORCH_DTYPES[dtype] };
  if (added.length === 0) return json;
  if (model.config.modelType !== "llama") {
    throw new UnsupportedError(
      `${model.path}: ${model.config.modelType} has no place for the biases that compression added; export it with --to onnx`,
    );
  }
  const attention = json.attention_bias === true || added.some((name) => name.includes("self_attn."));
  return { ...json, attention_bias: attention, mlp_bias: json.mlp_bias === true || added.some((name) => name.includes("mlp.")) };
}

function writeWeights(
  { checkpoint, architecture, config }: Model,
  dense: ModelConfig,
  folder: string,
  dtype: DenseDType,
  job: Job,
): void {
  const tensors = [...modelTensors(architecture, dense)].map(([name, shape]) => ({ name, shape, dtype }));
  const writer = SafetensorsWriter.create(folder, { tensors });
  for (const name of outerTensors(dense).keys()) scope(() => writer.write(name, checkpoint.read(name)));
  for (let block = 0; block < dense.blocks; block++) {
    job.checkpoint();
    job.progress({ stage: "write", done: block, total: dense.blocks, unit: "block" });
    scope(() => {
      const { linears, vectors } = readBlock(checkpoint, architecture, config, block);
      const shapes = architecture.projections(dense, block);
      const places = placesOf(architecture, config, block);
      const whole = new Map(shapes.map((shape) => wholeLayer(shape, linears, blockPrefix(block), places)));
      for (const [name, tensor] of storedTensors({ linears: whole, vectors }, block, dense)) writer.write(name, tensor);
    });
  }
  writer.finish();
}

/** One matrix in the shape and with the bias that the config promises. */
function wholeLayer(
  { name, rows, columns, bias }: ProjectionShape,
  linears: ReadonlyMap<string, Linear>,
  prefix: string,
  places: Places,
): [string, Linear] {
  const short = name.slice(prefix.length);
  const layer = linears.get(short) as Linear;
  const narrow = "weight" in layer ? layer.weight : layer.left.matmul(layer.right);
  const [ownRows, ownColumns] = [places.rows.get(short), places.columns.get(short)];
  const weight = filled(filled(narrow, rows, ownRows).T, columns, ownColumns).T.contiguous();
  if (!bias) return [short, { weight }];
  return [short, { weight, bias: layer.bias ? filled(layer.bias.T, rows, ownRows).T.contiguous() : Tensor.zeros([1, rows]) }];
}

/** The rows in their places, zeros between and behind them: channels and values of heads that add nothing. */
function filled(narrow: Tensor, rows: number, places: Uint32Array = Uint32Array.from(Array(narrow.rows).keys())): Tensor {
  if (narrow.rows === rows) return narrow;
  const from = new Uint32Array(rows).fill(narrow.rows); // the row of zeros
  places.forEach((to, row) => {
    from[to] = row;
  });
  return vcat(narrow.contiguous(), Tensor.zeros([1, narrow.columns])).selectRows(from);
}

/** Runs the written model; in f32 its logits must be the model's. */
async function verify(model: Model, folder: string, dtype: DenseDType): Promise<LogitCheck> {
  const reference = referenceLogits(model);
  const written = await loadModel(folder);
  try {
    const { relative, divergence } = logitDifference(reference, logitsOfTokens(written, reference.tokens));
    const check = { tokens: reference.tokens.length, prompt: relative, cached: null, divergence };
    if (dtype === "f32") requireEqual("the dense model", check);
    return check;
  } finally {
    written.checkpoint.close();
  }
}
