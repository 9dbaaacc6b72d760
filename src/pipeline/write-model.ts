/** The files of a compressed model: weights under their stored names, config, tokenizer, manifest, model card. */
import { copyFileSync, existsSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { readJson } from "../formats/json.ts";
import { storage } from "../formats/storage.ts";
import type { Json } from "../models/config.ts";
import type { Companion, Model } from "../models/load.ts";
import { blockOf } from "../models/weights.ts";
import { renderModelCard } from "../report/model-card.ts";
import { VERSION } from "../version.ts";
import { MANIFEST, type Manifest } from "./manifest.ts";
import type { Options, Plan } from "./plan.ts";
import type { CompressResult } from "./results.ts";
import { shortNames } from "./short-names.ts";

/** transformers loads the folder through it, with `trust_remote_code=True`. */
export const MODELING_FILE = "modeling_rankfold.py";

const TOKENIZER_CONFIG = "tokenizer_config.json";

export interface Made extends CompressResult {
  readonly calibrationSha256: string | null;
  readonly options: Options;
}

/** Writes all but the weights into the folder. */
export function writeCompanions(model: Model, plan: Plan, made: Made, folder: string): void {
  const manifest = manifestOf(model, made);
  const files = new Map<string, Companion | { text: string }>([
    ...model.companions,
    [TOKENIZER_CONFIG, tokenizerConfig(model)],
    ["config.json", { json: finalConfig(plan, made) }],
    [MANIFEST, { json: { ...manifest } }],
    ["README.md", { text: renderModelCard(manifest, plan.summary) }],
    [MODELING_FILE, { copyOf: fileURLToPath(new URL(`../../assets/${MODELING_FILE}`, import.meta.url)) }],
  ]);
  for (const [name, file] of files) storage(join(folder, name), () => writeCompanion(join(folder, name), file));
}

/** transformers cannot tell the tokenizer's class from our model type, so it is named here. */
function tokenizerConfig({ companions }: Model): Companion {
  const given = companions.get(TOKENIZER_CONFIG) ?? { json: {} };
  const json = "json" in given ? given.json : readJson(given.copyOf);
  return json.tokenizer_class === undefined ? { json: { ...json, tokenizer_class: "PreTrainedTokenizerFast" } } : given;
}

/** The planned config with what only the decompositions could tell. */
function finalConfig({ configJson, dtype }: Plan, { projections }: Made): Json {
  const skeletons = Object.fromEntries(projections.flatMap(({ name, skeleton }) => (skeleton ? [[name, skeleton]] : [])));
  const pairs = projections.flatMap(({ name, ropePairs }) => (ropePairs ? [[blockOf(name), ropePairs]] : []));
  const found = { projection_skeletons: skeletons, block_rope_pairs: Object.fromEntries(pairs) };
  return { ...configJson, ...found, torch_dtype: TORCH_DTYPES[dtype], dtype: TORCH_DTYPES[dtype] };
}

export const TORCH_DTYPES: Readonly<Record<string, string>> = { f32: "float32", bf16: "bfloat16", f16: "float16" };

export function writeCompanion(path: string, file: Companion | { text: string }): void {
  if ("copyOf" in file) {
    if (existsSync(file.copyOf)) copyFileSync(file.copyOf, path);
  } else {
    writeFileSync(path, "text" in file ? file.text : `${JSON.stringify(file.json, null, 2)}\n`);
  }
}

function manifestOf(model: Model, { out: _, options, ...made }: Made): Manifest {
  return {
    version: VERSION,
    node: process.version,
    created: new Date().toISOString(),
    model: isHubModel(model) ? model.source : basename(model.path),
    ...made,
    options: {
      ...options,
      model: isHubModel(model) ? options.model : basename(options.model),
      calibration: options.calibration && shortNames(options.calibration),
    },
  };
}

/** Its name on the hub tells all where it comes from; a path would tell about this machine. */
const isHubModel = ({ path, source }: Model) => path !== source;
