/** model_type of config.json -> architecture family. A compressed model's type is the dense one's behind `rankfold_`. */
import { UnsupportedError } from "../errors.ts";
import { nearestName } from "../nearest-name.ts";
import { boolean, indices, type Json, object, positive, positiveInt, strings } from "./config.ts";
import { llama } from "./llama.ts";
import type { Architecture, ModelConfig } from "./model.ts";

const FAMILIES: readonly Architecture[] = [llama];

export const COMPRESSED_PREFIX = "rankfold_";

/** @throws UnsupportedError naming the known types, nearest first. */
export function architectureNamed(modelType: string): Architecture {
  const found = FAMILIES.find((family) => family.modelTypes.includes(modelType));
  if (found) return found;
  const known = FAMILIES.flatMap((family) => family.modelTypes);
  const near = nearestName(modelType, known);
  const hint = near ? `did you mean ${near}? ` : "";
  throw new UnsupportedError(`config.json: model_type ${modelType} is not supported; ${hint}supported are ${known.join(", ")}`);
}

/** The architecture and the checked config of a config.json. @throws ConfigError, UnsupportedError */
export function parseModelConfig(json: Json): { architecture: Architecture; config: ModelConfig } {
  const modelType = String(json.model_type).replace(COMPRESSED_PREFIX, "");
  const architecture = architectureNamed(modelType);
  const ranks = object(json, "projection_ranks");
  const skeletons = object(json, "projection_skeletons");
  const widths = object(json, "block_widths");
  const shared: ModelConfig = {
    modelType,
    hiddenSize: positiveInt(json, "hidden_size"),
    blocks: positiveInt(json, "num_hidden_layers"),
    vocabulary: positiveInt(json, "vocab_size"),
    tiedEmbeddings: boolean(json, "tie_word_embeddings", false),
    normEps: positive(json, "rms_norm_eps", 1e-6),
    maxPositions: positiveInt(json, "max_position_embeddings", 2048),
    ranks: new Map(Object.keys(ranks).map((name) => [name, positiveInt(ranks, name)])),
    addedBiases: new Set(strings(json, "projection_biases")),
    widths: new Map(Object.keys(widths).map((block) => [Number(block), positiveInt(object(widths, block), "intermediate_size")])),
    skeletons: new Map(Object.keys(skeletons).map((name) => [name, indices(skeletons, name)])),
  };
  return { architecture, config: architecture.parseConfig(json, shared) };
}
