/** GGUF: every tensor type gives the values of the reference implementation; damaged and foreign files are refused. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { FormatError, NumericsError, UnsupportedError } from "../errors.ts";
import { GgufCheckpoint } from "./gguf.ts";
import { hfConfig, llama3Factors } from "./gguf-config.ts";
import { type GgufMetadata, readGgufHeader } from "./gguf-header.ts";
import { Metadata } from "./gguf-metadata.ts";
import { huggingFaceName } from "./gguf-names.ts";
import { tokenizerConfig, tokenizerJson } from "./gguf-tokenizer.ts";

const GOLDEN = new URL("../../test/golden/gguf/", import.meta.url).pathname;
const TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"];
const folder = mkdtempSync(join(tmpdir(), "rankfold-gguf-"));
afterAll(() => rmSync(folder, { recursive: true }));

function golden(type: string): Buffer {
  return readFileSync(join(GOLDEN, `${type}.gguf`));
}

function write(bytes: Uint8Array): string {
  const path = join(folder, "x.gguf");
  writeFileSync(path, bytes);
  return path;
}

/** The golden file with bytes changed at the place where `marker` ends. */
function changed(marker: string, skip: number, bytes: readonly number[]): string {
  const file = golden("F32");
  const at = file.indexOf(marker) + marker.length + skip;
  file.set(bytes, at);
  return write(file);
}

function u64(value: bigint): number[] {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return [...bytes];
}

test.each(TYPES)("%s has the values of the reference implementation", async (type) => {
  const checkpoint = await GgufCheckpoint.open(join(GOLDEN, `${type}.gguf`));
  const expected = new Float32Array(new Uint8Array(readFileSync(join(GOLDEN, `${type}.f32`))).buffer);
  const tensor = checkpoint.read("model.layers.0.mlp.down_proj.weight");
  expect(tensor.shape).toEqual([8, 256]);
  expect(tensor.toFloat32Array()).toEqual(expected);
  checkpoint.close();
});

test("rows of queries and keys come back to the order of Hugging Face", async () => {
  const checkpoint = await GgufCheckpoint.open(join(GOLDEN, "F32.gguf"));
  const firsts = (name: string) =>
    [...checkpoint.read(name).columnRange(0, 1).contiguous().toFloat32Array()].map((value) => value / 8);
  expect(firsts("model.layers.0.self_attn.q_proj.weight")).toEqual([0, 2, 1, 3, 4, 6, 5, 7]);
  expect(firsts("model.layers.0.self_attn.k_proj.weight")).toEqual([0, 2, 1, 3]);
  expect(firsts("model.embed_tokens.weight")).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(() => checkpoint.read("lm_head.weight")).toThrow(/expected a tensor lm_head.weight/);
  checkpoint.close();
});

test("names are those of Hugging Face", () => {
  expect(huggingFaceName("blk.12.attn_k.bias")).toBe("model.layers.12.self_attn.k_proj.bias");
  expect(huggingFaceName("output.weight")).toBe("lm_head.weight");
  expect(huggingFaceName("blk.0.ffn_gate_exps.weight")).toBeUndefined();
  expect(huggingFaceName("blk.0.constructor.weight")).toBeUndefined();
  expect(huggingFaceName("constructor")).toBeUndefined();
});

describe("a file is refused", () => {
  const layer = "blk.0.ffn_down.weight";
  const cases: readonly [string, () => string, new (...args: never[]) => Error, RegExp][] = [
    ["when it is too short", () => write(golden("F32").subarray(0, 20)), FormatError, /got 20 bytes/],
    ["when it is another format", () => write(Buffer.alloc(64, "x")), FormatError, /does not start with GGUF/],
    ["when it has a foreign version", () => changed("GGUF", 0, [9, 0, 0, 0]), UnsupportedError, /version 2 or 3.*got 9/],
    ["when it counts absurdly many tensors", () => changed("GGUF", 4, u64(2n ** 63n)), FormatError, /counts of tensors/],
    ["when it counts absurdly many entries", () => changed("GGUF", 12, u64(2n ** 40n)), FormatError, /counts of tensors/],
    ["when its header is cut off", () => write(golden("F32").subarray(0, 900)), FormatError, /header/],
    ["when its values are cut off", () => write(golden("F32").subarray(0, -32)), FormatError, /cut off/],
    ["when a tensor has absurdly many dimensions", () => changed(layer, 0, [200, 0, 0, 0]), FormatError, /n_dims 200/],
    ["when a tensor has no dimensions", () => changed("output_norm.weight", 0, [0, 0, 0, 0]), FormatError, /./],
    ["when a dimension is absurd", () => changed(layer, 4, u64(2n ** 60n)), FormatError, /dimension/],
    ["when a dimension is zero", () => changed(layer, 4, u64(0n)), FormatError, /dimensions between 1/],
    ["when a tensor lies beyond the end", () => changed(layer, 24, u64(2n ** 32n)), FormatError, /they end at/],
    ["when an offset is beyond all files", () => changed(layer, 24, u64(2n ** 64n - 1n)), FormatError, /they end at/],
    ["when tensors overlap", () => changed(layer, 24, u64(0n)), FormatError, /overlap/],
    [
      "when a tensor stands twice",
      () =>
        changed(
          "blk.0.attn_",
          0,
          [..."k"].map((c) => c.charCodeAt(0)),
        ),
      FormatError,
      /twice/,
    ],
    ["when a type is not read", () => changed(layer, 20, [10, 0, 0, 0]), UnsupportedError, /expected one of F32.*Q6_K, got Q2_K/],
    ["when a type is unknown", () => changed(layer, 20, [99, 0, 0, 0]), UnsupportedError, /got type 99/],
    ["when rows are no whole blocks", () => changed("token_embd.weight", 20, [8, 0, 0, 0]), FormatError, /whole blocks of 32/],
    [
      "when the architecture is another",
      () =>
        changed(
          "general.architecture",
          12,
          [..."mamba"].map((c) => c.charCodeAt(0)),
        ),
      UnsupportedError,
      /expected the architecture llama, got mamba/,
    ],
    [
      "when a tensor is not of this architecture",
      () =>
        changed(
          "blk.0.ffn_",
          0,
          [..."xxxx"].map((c) => c.charCodeAt(0)),
        ),
      UnsupportedError,
      /ffn_xxxx/,
    ],
  ];
  test.each(cases)("%s", async (_, make, kind, message) => {
    const path = make();
    const failure = await GgufCheckpoint.open(path).catch((cause) => cause);
    expect(failure).toBeInstanceOf(kind);
    expect(failure.message).toMatch(message);
    expect(failure.message).toContain(path);
  });
});

test("no cut of a file is taken for a whole one", async () => {
  const whole = golden("Q4_0");
  for (let bytes = 0; bytes < whole.length; bytes += 97) {
    await expect(readGgufHeader(write(whole.subarray(0, bytes)))).rejects.toThrow(FormatError);
  }
});

test("NaN in a weight is an error that names the tensor", async () => {
  const file = golden("F32");
  file.writeFloatLE(Number.NaN, file.length - 4);
  const checkpoint = await GgufCheckpoint.open(write(file));
  expect(() => checkpoint.read("model.layers.0.mlp.down_proj.weight")).toThrow(NumericsError);
  checkpoint.close();
});

const METADATA: GgufMetadata = {
  "llama.block_count": 1,
  "llama.context_length": 64,
  "llama.embedding_length": 16,
  "llama.feed_forward_length": 32,
  "llama.attention.head_count": 2,
  "llama.attention.layer_norm_rms_epsilon": Math.fround(1e-5),
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.tokens": ["<s>", "</s>", "a"],
  "tokenizer.ggml.token_type": [3, 4, 1],
  "tokenizer.ggml.bos_token_id": 0,
  "tokenizer.ggml.eos_token_id": 1,
};

function config(more: GgufMetadata, ropeFactors?: Float32Array) {
  const place = { shape: [3, 16], format: "f32", offset: 0, length: 0 } as const;
  return hfConfig({
    metadata: new Metadata("m.gguf", { ...METADATA, ...more }),
    tensors: new Map([["token_embd.weight", place]]),
    ropeFactors,
  });
}

describe("config.json", () => {
  test("has the values of the metadata, and defaults where there are none", () => {
    const expected = {
      head_dim: 8,
      num_key_value_heads: 2,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      vocab_size: 3,
      tie_word_embeddings: true,
      eos_token_id: 1,
    };
    expect(config({})).toMatchObject(expected);
    expect(config({})).not.toHaveProperty("rope_scaling");
  });

  test("finds the scaling of Llama 3 in its factors", () => {
    const factors = Float32Array.from(llama3Factors(32, 500000, 64));
    const wide = { "llama.attention.key_length": 64, "llama.attention.value_length": 64, "llama.rope.freq_base": 500000 };
    expect(config(wide, factors).rope_scaling).toEqual({
      rope_type: "llama3",
      factor: 32,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    });
    expect(config({}, new Float32Array(4).fill(1))).not.toHaveProperty("rope_scaling");
    expect(() =>
      config(
        wide,
        factors.map((value) => value * 1.01),
      ),
    ).toThrow(UnsupportedError);
  });

  test("has linear and other scalings as they are written", () => {
    expect(config({ "llama.rope.scale_linear": 4 }).rope_scaling).toEqual({ rope_type: "linear", factor: 4 });
    expect(config({ "llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 2 }).rope_scaling).toMatchObject({
      rope_type: "yarn",
    });
  });

  test("refuses what the llama family lacks", () => {
    expect(() => config({ "llama.expert_count": 8 })).toThrow(/8 experts/);
    expect(() => config({ "llama.rope.dimension_count": 4 })).toThrow(UnsupportedError);
    expect(() => config({ "llama.attention.head_count": [2, 4] })).toThrow(/expected a number/);
    expect(() => config({ "llama.block_count": 0 })).toThrow(FormatError);
  });
});

describe("tokenizer.json", () => {
  const of = (more: GgufMetadata) => new Metadata("m.gguf", { ...METADATA, ...more });

  test("marks control tokens special, and adds those that the model wants around a text", () => {
    const json = tokenizerJson(of({ "tokenizer.ggml.add_bos_token": true }));
    expect(json.added_tokens).toMatchObject([
      { id: 0, special: true },
      { id: 1, special: false },
    ]);
    expect(json.post_processor).toMatchObject({ single: [{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }] });
    expect(tokenizerConfig(of({}))).toMatchObject({ bos_token: "<s>", eos_token: "</s>", add_bos_token: false });
  });

  test("is refused for other kinds of tokenizers, which are named", () => {
    expect(() => tokenizerJson(of({ "tokenizer.ggml.model": "llama" }))).toThrow(
      /byte-level BPE.*got llama; give the Hugging Face folder/,
    );
    expect(() => tokenizerJson(of({ "tokenizer.ggml.pre": "viking" }))).toThrow(
      /expected a pre-tokenizer of default, gpt-2.*got viking/,
    );
  });

  test("is refused when its parts contradict each other", () => {
    expect(() => tokenizerJson(of({ "tokenizer.ggml.merges": ["a"] }))).toThrow(/two parts of a token, got "a"/);
    expect(() => tokenizerJson(of({ "tokenizer.ggml.merges": ["a a"] }))).toThrow(FormatError);
    expect(() => tokenizerJson(of({ "tokenizer.ggml.tokens": ["a", "a"] }))).toThrow(/once/);
    expect(() => tokenizerConfig(of({ "tokenizer.ggml.eos_token_id": 7 }))).toThrow(/below 3, got 7/);
  });
});
