/** `export --to onnx`: the folder that transformers.js and onnxruntime load, one graph for each dtype. */
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ExternalData } from "../formats/onnx-data.ts";
import { OnnxGraph } from "../formats/onnx-graph.ts";
import { storage } from "../formats/storage.ts";
import type { Json } from "../models/config.ts";
import type { Companion, Model } from "../models/load.ts";
import { decoderGraph } from "../models/onnx/decoder.ts";
import type { Precision, Target } from "../models/onnx/linear.ts";
import { VERSION } from "../version.ts";
import type { OnnxDType } from "./export-options.ts";
import type { ExportedModel } from "./export-results.ts";
import type { Job } from "./job.ts";
import { stopwatch } from "./measure.ts";
import { originalConfig } from "./original-config.ts";
import { type Reference, referenceLogits, requireEqual, verifyOnnx } from "./verify-export.ts";
import { writeCompanion } from "./write-model.ts";

export const ONNX_FOLDER = "onnx";

interface Variant {
  readonly file: string;
  readonly precision: Precision;
}

/**
 * The embedding and the head are quantised to 8 bits even where the rest has 4: they are read once a token, hold the rare
 * words, and are one table in a model that ties them.
 */
const VARIANTS: Readonly<Record<OnnxDType, Variant>> = {
  fp32: { file: "model.onnx", precision: { float: "f32" } },
  fp16: { file: "model_fp16.onnx", precision: { float: "f16" } },
  q8: { file: "model_quantized.onnx", precision: { float: "f32", bits: 8, tableBits: 8 } },
  q4: { file: "model_q4.onnx", precision: { float: "f32", bits: 4, tableBits: 8 } },
  q4f16: { file: "model_q4f16.onnx", precision: { float: "f16", bits: 4, tableBits: 8 } },
};

/** The name of the graph of a dtype. */
export const onnxFile = (dtype: OnnxDType): string => VARIANTS[dtype].file;

export interface OnnxOptions {
  readonly dtypes: readonly OnnxDType[];
  readonly verify: boolean;
  /** A file of more bytes of values than this is split. */
  readonly chunkBytes?: number;
}

/** Fills the folder. */
export async function exportOnnx(model: Model, folder: string, options: OnnxOptions, job: Job): Promise<ExportedModel[]> {
  storage(folder, () => mkdirSync(join(folder, ONNX_FOLDER)));
  const reference = options.verify ? referenceLogits(model) : undefined;
  const models: ExportedModel[] = [];
  for (const dtype of options.dtypes) {
    const written = writeVariant(model, dtype, { folder, chunkBytes: options.chunkBytes }, job);
    models.push({ ...written, check: reference ? await verify(written, folder, reference, job) : null });
  }
  writeCompanions(model, folder, models);
  return models;
}

interface Place {
  readonly folder: string;
  readonly chunkBytes: number | undefined;
}

function writeVariant(model: Model, dtype: OnnxDType, { folder, chunkBytes }: Place, job: Job): Omit<ExportedModel, "check"> {
  const elapsed = stopwatch();
  const { file, precision } = VARIANTS[dtype];
  const data = new ExternalData(join(folder, ONNX_FOLDER), file, chunkBytes);
  const target: Target = { graph: new OnnxGraph(data), precision, paddingBytes: 0 };
  decoderGraph(target, model, (block) => {
    job.checkpoint();
    job.progress({ stage: `write ${dtype}`, done: block, total: model.config.blocks, unit: "block" });
  });
  const path = join(folder, ONNX_FOLDER, file);
  storage(path, () => writeFileSync(path, target.graph.encode({ name: "rankfold", version: VERSION })));
  const files = [file, ...data.files].map((name) => `${ONNX_FOLDER}/${name}`);
  const bytes = files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  return { dtype, files, bytes, paddingBytes: target.paddingBytes, seconds: elapsed() };
}

/** f32 must give the model's logits; how far the others are off is reported. */
async function verify(
  { dtype, files: [file], bytes }: Omit<ExportedModel, "check">,
  folder: string,
  reference: Reference,
  job: Job,
) {
  job.checkpoint();
  job.progress({ stage: `verify ${dtype}`, done: 0, total: 1, unit: "model" });
  const check = await verifyOnnx(join(folder, file as string), bytes, reference, job);
  if (dtype === "fp32") requireEqual(file as string, check);
  return check;
}

function writeCompanions(model: Model, folder: string, models: readonly ExportedModel[]): void {
  const files = new Map<string, Companion>([
    ["generation_config.json", { json: generationConfig(model) }],
    ...model.companions,
    ["config.json", { json: { ...originalConfig(model), "transformers.js_config": transformersJsConfig(models) } }],
  ]);
  for (const [name, file] of files) storage(join(folder, name), () => writeCompanion(join(folder, name), file));
}

/** For a model that brings none: where a text ends. */
function generationConfig({ configJson: { bos_token_id, eos_token_id } }: Model): Json {
  return { bos_token_id, eos_token_id };
}

/** How many data files there are; version 3 also has to be told the cache's dtype, later ones read it from the graph. */
function transformersJsConfig(models: readonly ExportedModel[]): Json {
  const dtypes = models.map(({ dtype }) => dtype);
  const isComplete = dtypes.includes("fp32") && dtypes.includes("q8"); // what it loads when told nothing
  return {
    use_external_data_format: Object.fromEntries(
      models.map(({ files }) => [(files[0] as string).slice(ONNX_FOLDER.length + 1), files.length - 1]),
    ),
    kv_cache_dtype: { q4f16: "float16", fp16: "float16" },
    ...(isComplete ? {} : { dtype: dtypes[0] }),
  };
}
