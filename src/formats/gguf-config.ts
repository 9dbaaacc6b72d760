/** A transformers-style config.json from the metadata of a llama GGUF file. */
import { FormatError, UnsupportedError } from "../errors.ts";
import type { JsonObject } from "../json-object.ts";
import type { GgufTensor } from "./gguf-header.ts";
import type { Metadata } from "./gguf-metadata.ts";

/** What llama.cpp takes when the metadata says nothing. */
const DEFAULT_ROPE_THETA = 10_000;
/** The scaling of every published Llama 3.1 to 3.3; the converter turns it into a tensor of factors and forgets the numbers. */
const LLAMA3 = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
/** Between factors computed in f64 and those that the file stores as f32. */
const FACTOR_TOLERANCE = 1e-4;

export interface GgufConfigSource {
  readonly metadata: Metadata;
  /** By the names of the file. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** Values of `rope_freqs.weight`, when there is such a tensor. */
  readonly ropeFactors: Float32Array | undefined;
}

/** Heads of the queries and of the keys and values. */
export function headCounts(metadata: Metadata): { readonly queries: number; readonly keyValues: number } {
  const queries = metadata.count("llama.attention.head_count");
  const keyValues = metadata.has("llama.attention.head_count_kv") ? metadata.count("llama.attention.head_count_kv") : queries;
  return { queries, keyValues };
}

/** @throws FormatError for metadata that is missing, UnsupportedError for a variant that the llama family lacks. */
export function hfConfig(source: GgufConfigSource): JsonObject {
  const { metadata, tensors } = source;
  const width = headWidth(metadata);
  refuseVariants(metadata, width);
  const heads = headCounts(metadata);
  const scaling = ropeScaling(source, width);
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: metadata.count("llama.embedding_length"),
    intermediate_size: metadata.count("llama.feed_forward_length"),
    num_hidden_layers: metadata.count("llama.block_count"),
    num_attention_heads: heads.queries,
    num_key_value_heads: heads.keyValues,
    head_dim: width,
    hidden_act: "silu",
    rms_norm_eps: required(metadata, "llama.attention.layer_norm_rms_epsilon"),
    rope_theta: ropeTheta(metadata),
    ...(scaling && { rope_scaling: scaling }),
    max_position_embeddings: metadata.count("llama.context_length"),
    vocab_size: vocabularySize(source),
    tie_word_embeddings: !tensors.has("output.weight"),
    attention_bias: tensors.has("blk.0.attn_q.bias"),
    mlp_bias: tensors.has("blk.0.ffn_gate.bias"),
    bos_token_id: metadata.number("tokenizer.ggml.bos_token_id") ?? null,
    eos_token_id: endTokens(metadata),
    torch_dtype: "bfloat16",
  };
}

function ropeTheta(metadata: Metadata): number {
  return metadata.number("llama.rope.freq_base") ?? DEFAULT_ROPE_THETA;
}

function headWidth(metadata: Metadata): number {
  if (metadata.has("llama.attention.key_length")) return metadata.count("llama.attention.key_length");
  return metadata.count("llama.embedding_length") / headCounts(metadata).queries;
}

function refuseVariants(metadata: Metadata, width: number): void {
  const refuse = (key: string, expected: string, got: unknown) => {
    throw new UnsupportedError(
      `${metadata.file}: metadata ${key}: expected ${expected}, got ${got}; this variant of llama is not read`,
    );
  };
  const experts = metadata.number("llama.expert_count") ?? 0;
  if (experts > 0) refuse("llama.expert_count", "a dense model", `${experts} experts`);
  for (const key of ["llama.rope.dimension_count", "llama.attention.value_length"]) {
    const value = metadata.number(key) ?? width;
    if (value !== width) refuse(key, `${width}, the width of a head`, value);
  }
}

function required(metadata: Metadata, key: string): number {
  const value = metadata.number(key);
  if (value === undefined)
    throw new FormatError(metadata.file, `metadata ${key}: expected a number, found none; convert the model again`);
  return value;
}

function vocabularySize({ metadata, tensors }: GgufConfigSource): number {
  const rows = tensors.get("token_embd.weight")?.shape[0];
  if (rows === undefined)
    throw new FormatError(metadata.file, "expected a tensor token_embd.weight, found none; the file is no whole model");
  return rows;
}

/** The end of text and, where they differ, the end of a turn. */
function endTokens(metadata: Metadata): number | number[] | null {
  const ids = ["eos", "eot"].map((kind) => metadata.number(`tokenizer.ggml.${kind}_token_id`)).filter((id) => id !== undefined);
  const unique = [...new Set(ids)];
  return unique.length > 1 ? unique : (unique[0] ?? null);
}

function ropeScaling(source: GgufConfigSource, width: number): JsonObject | undefined {
  const { metadata, ropeFactors } = source;
  if (ropeFactors) return llama3Scaling(source, ropeFactors, width);
  const factor = metadata.number("llama.rope.scaling.factor") ?? metadata.number("llama.rope.scale_linear");
  const type = metadata.string("llama.rope.scaling.type") ?? (factor === undefined ? "none" : "linear");
  if (type === "none") return undefined;
  const original = metadata.number("llama.rope.scaling.original_context_length");
  return { rope_type: type, factor: factor ?? 1, ...(original && { original_max_position_embeddings: original }) };
}

/** Finds the config that gives the stored factors; undefined when they change nothing. */
function llama3Scaling({ metadata }: GgufConfigSource, stored: Float32Array, width: number): JsonObject | undefined {
  const factor = shortest(Math.max(...stored));
  if (stored.every((value) => value === 1)) return undefined;
  const expected = llama3Factors(factor, ropeTheta(metadata), width);
  const same =
    expected.length === stored.length &&
    expected.every((value, i) => Math.abs(value - (stored[i] ?? 0)) <= FACTOR_TOLERANCE * value);
  if (same) return { rope_type: "llama3", factor, ...LLAMA3 };
  throw new UnsupportedError(
    `${metadata.file}: rope_freqs.weight: expected the factors of Llama 3.1, got others; give the Hugging Face folder of the model`,
  );
}

function shortest(value: number): number {
  return Number(value.toPrecision(6));
}

/** What divides each rotary frequency: 1 for short waves, `factor` for long ones, a blend between. */
export function llama3Factors(factor: number, theta: number, width: number): number[] {
  const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = LLAMA3;
  return Array.from({ length: width / 2 }, (_, i) => {
    const turns = original / (2 * Math.PI * theta ** ((2 * i) / width));
    if (turns > high) return 1;
    if (turns < low) return factor;
    const blend = (turns - low) / (high - low);
    return 1 / ((1 - blend) / factor + blend);
  });
}
