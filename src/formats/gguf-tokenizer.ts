/** A byte-level BPE tokenizer in the files of Hugging Face, from the metadata of a GGUF file. */
import { FormatError, UnsupportedError } from "../errors.ts";
import type { JsonObject } from "../json-object.ts";
import type { Metadata } from "./gguf-metadata.ts";

/** Values of `tokenizer.ggml.token_type`: tokens that are found in the text whole, before any pre-tokenizer. */
const CONTROL = 3;
const USER_DEFINED = 4;

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const BYTES_ONLY = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
const GPT2 = { ...BYTES_ONLY, use_regex: true };

interface PreTokenizer {
  readonly steps: readonly JsonObject[];
  readonly normalizer?: JsonObject;
  /** A word that is a token as a whole is not merged from its parts. */
  readonly ignoreMerges?: boolean;
}

const SINGLE_DIGITS: PreTokenizer = { steps: [{ type: "Digits", individual_digits: true }, GPT2] };
const LLAMA3: PreTokenizer = { steps: [wordsWithNumbers("\\p{N}{1,3}"), BYTES_ONLY], ignoreMerges: true };
const QWEN2: PreTokenizer = { steps: [wordsWithNumbers("\\p{N}"), BYTES_ONLY], normalizer: { type: "NFC" } };

/** By `tokenizer.ggml.pre`. */
const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer>> = {
  default: { steps: [GPT2] },
  "gpt-2": { steps: [GPT2] },
  smollm: SINGLE_DIGITS,
  starcoder: SINGLE_DIGITS,
  refact: SINGLE_DIGITS,
  "llama-bpe": LLAMA3,
  llama3: LLAMA3,
  "llama-v3": LLAMA3,
  qwen2: QWEN2,
};

function wordsWithNumbers(numbers: string): JsonObject {
  const parts = [
    CONTRACTIONS,
    "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+",
    numbers,
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*",
    "\\s*[\\r\\n]+",
    "\\s+(?!\\S)",
    "\\s+",
  ];
  return { type: "Split", pattern: { Regex: parts.join("|") }, behavior: "Isolated", invert: false };
}

/** tokenizer.json. @throws UnsupportedError when the tokenizer is of another kind, FormatError when it is damaged. */
export function tokenizerJson(metadata: Metadata): JsonObject {
  const tokens = tokenList(metadata);
  const { steps, normalizer, ignoreMerges } = preTokenizer(metadata);
  const [first] = steps;
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(metadata, tokens),
    normalizer: normalizer ?? null,
    pre_tokenizer: steps.length === 1 ? first : { type: "Sequence", pretokenizers: steps },
    post_processor: postProcessor(metadata, tokens),
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: bpeModel(metadata, tokens, ignoreMerges ?? false),
  };
}

/** tokenizer_config.json. */
export function tokenizerConfig(metadata: Metadata): JsonObject {
  const tokens = tokenList(metadata);
  const special = Object.entries({ bos: "bos", eos: "eos", unk: "unknown", pad: "padding" }).flatMap(([name, key]) => {
    const id = tokenId(metadata, tokens, key);
    return id === undefined ? [] : [[`${name}_token`, tokens[id]] as const];
  });
  const template = metadata.string("tokenizer.chat_template");
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    ...Object.fromEntries(special),
    add_bos_token: addsToken(metadata, "bos"),
    add_eos_token: addsToken(metadata, "eos"),
    clean_up_tokenization_spaces: false,
    model_max_length: metadata.count("llama.context_length"),
    ...(template !== undefined && { chat_template: template }),
  };
}

function tokenList(metadata: Metadata): readonly string[] {
  const kind = metadata.string("tokenizer.ggml.model");
  if (kind !== "gpt2") {
    throw new UnsupportedError(
      `${metadata.file}: expected a byte-level BPE tokenizer (gpt2), got ${kind ?? "none"}; give the Hugging Face folder of the model, whose tokenizer.json is read`,
    );
  }
  const tokens = metadata.strings("tokenizer.ggml.tokens");
  if (!tokens?.length)
    throw new FormatError(metadata.file, "metadata tokenizer.ggml.tokens: expected strings, found none; convert the model again");
  return tokens;
}

function preTokenizer(metadata: Metadata): PreTokenizer {
  const name = metadata.string("tokenizer.ggml.pre") ?? "default";
  const known = Object.hasOwn(PRE_TOKENIZERS, name) ? PRE_TOKENIZERS[name] : undefined;
  if (known) return known;
  throw new UnsupportedError(
    `${metadata.file}: expected a pre-tokenizer of ${Object.keys(PRE_TOKENIZERS).join(", ")}, got ${name}; give the Hugging Face folder of the model`,
  );
}

function addedTokens(metadata: Metadata, tokens: readonly string[]): JsonObject[] {
  const types = metadata.numbers("tokenizer.ggml.token_type") ?? [];
  return tokens.flatMap((content, id) => {
    if (types[id] !== CONTROL && types[id] !== USER_DEFINED) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: types[id] === CONTROL }];
  });
}

function bpeModel(metadata: Metadata, tokens: readonly string[], ignoreMerges: boolean): JsonObject {
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  if (Object.keys(vocab).length !== tokens.length)
    throw new FormatError(metadata.file, "metadata tokenizer.ggml.tokens: expected each token once, got one twice");
  const merges = (metadata.strings("tokenizer.ggml.merges") ?? []).map((merge) => parseMerge(metadata.file, merge, vocab));
  return {
    type: "BPE",
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: ignoreMerges,
    vocab,
    merges,
  };
}

/** Two tokens, with one space between; no token of a byte-level vocabulary holds a space. */
function parseMerge(file: string, merge: string, vocab: Readonly<Record<string, number>>): readonly [string, string] {
  const [left, right, ...more] = merge.split(" ");
  if (left && right && more.length === 0 && Object.hasOwn(vocab, left + right)) return [left, right];
  throw new FormatError(
    file,
    `metadata tokenizer.ggml.merges: expected two parts of a token, got ${JSON.stringify(merge)}; convert the model again`,
  );
}

function tokenId(metadata: Metadata, tokens: readonly string[], kind: string): number | undefined {
  const id = metadata.number(`tokenizer.ggml.${kind}_token_id`);
  if (id === undefined || tokens[id] !== undefined) return id;
  throw new FormatError(
    metadata.file,
    `metadata tokenizer.ggml.${kind}_token_id: expected an id below ${tokens.length}, got ${id}`,
  );
}

/** Llama 3 starts every text with the token of the beginning, also where the file does not say so. */
function addsToken(metadata: Metadata, kind: "bos" | "eos"): boolean {
  const implied = kind === "bos" && preTokenizer(metadata) === LLAMA3;
  return metadata.boolean(`tokenizer.ggml.add_${kind}_token`) ?? implied;
}

/** What other programs add around a text; rankfold itself never adds tokens. */
function postProcessor(metadata: Metadata, tokens: readonly string[]): JsonObject {
  const ids = (["bos", "eos"] as const).map((kind) => (addsToken(metadata, kind) ? tokenId(metadata, tokens, kind) : undefined));
  const [bos, eos] = ids.map((id) => (id === undefined ? [] : [{ SpecialToken: { id: tokens[id], type_id: 0 } }]));
  const sequence = (id: string) => ({ Sequence: { id, type_id: 0 } });
  const used = ids.filter((id) => id !== undefined).map((id) => tokens[id] as string);
  return {
    type: "TemplateProcessing",
    single: [...(bos ?? []), sequence("A"), ...(eos ?? [])],
    pair: [...(bos ?? []), sequence("A"), ...(eos ?? []), ...(bos ?? []), sequence("B"), ...(eos ?? [])],
    special_tokens: Object.fromEntries(
      used.map((token) => [token, { id: token, ids: [tokens.indexOf(token)], tokens: [token] }]),
    ),
  };
}
