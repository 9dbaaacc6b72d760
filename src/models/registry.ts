/** model_type of config.json -> architecture family. A compressed model's type is the dense one's behind `rankfold_`. */
import { ConfigError, UnsupportedError } from "../errors.ts";
import { nearestName } from "../nearest-name.ts";
import { boolean, indexLists, indices, type Json, object, positive, positiveInt, strings } from "./config.ts";
import { llama } from "./llama.ts";
import type { Architecture, BlockWidths, ModelConfig, Part } from "./model.ts";

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
    sharedRights: sharedRights(json, ranks),
    ...narrowBlocks(json),
    skeletons: new Map(Object.keys(skeletons).map((name) => [name, indices(skeletons, name)])),
  };
  return { architecture, config: architecture.parseConfig(json, shared) };
}

/** @throws ConfigError unless both are factored, at one rank, and the other has a right factor of its own. */
function sharedRights(json: Json, ranks: Json): Map<string, string> {
  const shared = object(json, "projection_shared_rights");
  for (const [name, owner] of Object.entries(shared)) {
    const fits = typeof owner === "string" && !(owner in shared) && ranks[owner] !== undefined && ranks[owner] === ranks[name];
    if (!fits) throw new ConfigError("projection_shared_rights", `${name} must name a projection of its own rank, got ${owner}`);
  }
  return new Map(Object.entries(shared as Record<string, string>));
}

/** The keys of `block_widths`, by the part that each is the size of. */
export const WIDTH_KEYS: Readonly<Record<Part, string>> = {
  channels: "intermediate_size",
  queryKey: "qk_head_dim",
  value: "v_head_dim",
};

function narrowBlocks(json: Json): Pick<ModelConfig, "widths" | "ropePairs"> {
  const [widths, pairs] = [object(json, "block_widths"), object(json, "block_rope_pairs")];
  const parts = Object.entries(WIDTH_KEYS);
  const sizes = (own: Json): BlockWidths =>
    Object.fromEntries(parts.flatMap(([part, key]) => (own[key] === undefined ? [] : [[part, positiveInt(own, key)]])));
  return {
    widths: new Map(Object.keys(widths).map((block) => [Number(block), sizes(object(widths, block))])),
    ropePairs: new Map(Object.keys(pairs).map((block) => [Number(block), indexLists(pairs, block)])),
  };
}
