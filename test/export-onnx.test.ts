/** What `export --to onnx` writes runs in onnxruntime and gives the model's own logits. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InterruptedError, UsageError } from "../src/errors.ts";
import { logitDifference } from "../src/evaluate/logit-difference.ts";
import { openOnnx } from "../src/evaluate/onnxruntime.ts";
import { type Bits, BLOCK, quantizeRows } from "../src/formats/block-quantization.ts";
import { readJson } from "../src/formats/json.ts";
import { loadModel, type Model } from "../src/models/load.ts";
import { balanced } from "../src/models/onnx/linear.ts";
import { exportModel } from "../src/pipeline/export.ts";
import { exportOnnx, type OnnxOptions } from "../src/pipeline/export-onnx.ts";
import { exportOptions } from "../src/pipeline/export-options.ts";
import { silentJob } from "../src/pipeline/job.ts";
import { parseOptions } from "../src/pipeline/options.ts";
import { logitsOfTokens } from "../src/pipeline/verify-export.ts";
import { hcat, scope, Tensor, vcat } from "../src/tensor/index.ts";
import { compressed, goldenModel, goldenNames, narrower, narrowerHeads, PEQUOD, temporaryFolder } from "./exported.ts";

const root = temporaryFolder();
afterAll(() => rmSync(root, { recursive: true }));

let folders = 0;
async function exported(model: Model, options: Partial<OnnxOptions> & Pick<OnnxOptions, "dtypes">) {
  const folder = join(root, `onnx-${folders++}`);
  mkdirSync(folder);
  const models = await exportOnnx(model, folder, { verify: true, ...options }, silentJob);
  return { folder, models, check: models[0]?.check };
}

describe("f32 gives the model's logits, whole and token by token", () => {
  // The export itself refuses more than 1e-4 of the logits' magnitude.
  test.each(goldenNames)("%s", async (name) => {
    const { check } = await exported(goldenModel(name), { dtypes: ["fp32"] });
    expect(check?.prompt).toBeLessThan(1e-5);
    expect(check?.cached).toBeLessThan(1e-5);
    expect(check?.divergence).toBeLessThan(1e-6);
  });
});

describe("narrower heads", () => {
  // 4 and 6 values a head, several key/value heads with pairs of their own, biases, scaled angles, a window.
  test.each(goldenNames)("of %s give the model's logits in f32, whole and token by token", async (name) => {
    const { check } = await exported(narrowerHeads(goldenModel(name), 1, 3), { dtypes: ["fp32"] });
    expect(check?.prompt).toBeLessThan(1e-5);
    expect(check?.cached).toBeLessThan(1e-5);
  });

  test("compute with quantised weights too, the rows that read them filled up to whole blocks", async () => {
    const { models } = await exported(narrowerHeads(await loadModel(PEQUOD), 11, 21), { dtypes: ["q8", "fp16"] });
    expect(models[0]?.paddingBytes).toBeGreaterThan(0);
    // 8 bits in blocks of 32 for weights and activations; 11 bits in f16.
    expect(models[0]?.check?.prompt).toBeLessThan(8 * 2 ** -8);
    expect(models[1]?.check?.prompt).toBeLessThan(50 * 2 ** -11);
  });
});

test.each(goldenNames)("f16 of %s is off by no more than its rounding", async (name) => {
  const { check } = await exported(goldenModel(name), { dtypes: ["fp16"] });
  // 11 bits, a few dozen roundings one after the other.
  expect(check?.prompt).toBeLessThan(50 * 2 ** -11);
  expect(check?.cached).toBeLessThan(50 * 2 ** -11);
});

test("a model whose rows are no whole blocks keeps them in float, but for the MLP, which is widened to one", async () => {
  const { check, models } = await exported(goldenModel("gqa-untied"), { dtypes: ["q8"] });
  expect(models[0]?.paddingBytes).toBeGreaterThan(0);
  expect(check?.prompt).toBeLessThan(8 * 2 ** -8);
});

test("data in many files is found, and the config counts them", async () => {
  const { folder, models } = await exported(await loadModel(PEQUOD), { dtypes: ["fp32"], chunkBytes: 5_000_000 });
  const count = (models[0]?.files.length ?? 0) - 1;
  expect(count).toBeGreaterThan(4);
  expect(readdirSync(join(folder, "onnx")).filter((name) => name.startsWith("model.onnx_data")).length).toBe(count);
  expect(readJson(join(folder, "config.json"))).toMatchObject({
    "transformers.js_config": { use_external_data_format: { "model.onnx": count }, dtype: "fp32" },
  });
});

test("a failed export leaves nothing behind, a folder in use is not touched", async () => {
  const out = join(root, "interrupted");
  const options = parseOptions(exportOptions, { model: PEQUOD, to: "onnx", out });
  const checkpoint = () => {
    if (existsSync(`${out}.partial/onnx/model.onnx_data`)) throw new InterruptedError("interrupted");
  };
  await expect(exportModel(options, { ...silentJob, checkpoint })).rejects.toThrow(InterruptedError);
  expect([existsSync(out), existsSync(`${out}.partial`)]).toEqual([false, false]);
  await expect(exportModel({ ...options, out: root }, silentJob)).rejects.toThrow(UsageError);
});

test("dtypes of the other format are refused by name", () => {
  const parse =
    (to: "onnx" | "dense", ...dtype: string[]) =>
    () =>
      parseOptions(exportOptions, { model: "m", out: "o", to, dtype });
  expect(parse("onnx", "bf16")).toThrow(/--to onnx knows fp32, fp16, q8, q4, q4f16/);
  expect(parse("dense", "q4")).toThrow(/--to dense knows f32, bf16, f16/);
  expect(parse("dense", "f32", "f16")).toThrow(UsageError);
});

describe("compressed models", () => {
  const models = new Map<string, Model>();
  beforeAll(async () => {
    const kinds = {
      biases: { method: "rom", center: "mean" },
      skeletons: { method: "nid-i" },
      plain: { method: "svd-llm" },
      joint: { method: "svd-llm", joint: true },
    } as const;
    for (const [kind, options] of Object.entries(kinds)) models.set(kind, await loadModel(await compressed(root, options)));
    models.set("narrower", narrower(await loadModel(PEQUOD)));
  }, 60_000);
  const modelOf = (kind: string) => models.get(kind) as Model;

  test.each(["biases", "skeletons", "plain", "joint", "narrower"])("(%s) give their logits in f32", async (kind) => {
    const { check, folder, models } = await exported(modelOf(kind), { dtypes: ["fp32"] });
    expect(check?.prompt).toBeLessThan(2e-5);
    expect(check?.cached).toBeLessThan(2e-5);
    expect(models[0]?.paddingBytes).toBe(0);
    const config = readJson(join(folder, "config.json"));
    expect(config).toMatchObject({ model_type: "llama", architectures: ["LlamaForCausalLM"] });
    expect(Object.keys(config).filter((key) => /^(projection_|block_widths|auto_map)/.test(key))).toEqual([]);
  });

  test.each([
    ["plain", "q8", 8],
    ["plain", "q4", 4],
    ["biases", "q4", 4],
    ["narrower", "q4", 4],
  ] as const)("%s in %s computes with the quantised weights, ranks filled up to whole blocks", async (kind, dtype, bits) => {
    const model = modelOf(kind);
    const { folder, models } = await exported(model, { dtypes: [dtype] });
    expect(models[0]?.paddingBytes).toBeGreaterThan(0);
    const tokens = model.tokenizer.encode("The whale rose again, and the boats");
    const expected = logitsOfTokens(quantized(model, bits), tokens);
    const decoder = await openOnnx(join(folder, models[0]?.files[0] as string));
    const got = await decoder.advance([...tokens]);
    await decoder.close();
    // Activations have 8 bits in blocks of 32: a relative error of 2^-8 in each product, which the residual stream averages.
    const { relative, divergence } = logitDifference({ values: expected, vocabulary: model.config.vocabulary }, got);
    expect(relative).toBeLessThan(8 * 2 ** -8);
    expect(divergence).toBeLessThan(2e-3);
  });

  test("in 4 bits are a seventh of f32 in their projections", async () => {
    const { folder, models } = await exported(modelOf("plain"), { dtypes: ["q4", "fp32"], verify: false });
    const [q4, fp32] = models.map(({ bytes }) => bytes) as [number, number];
    expect(q4).toBeLessThan(fp32 / 4);
    expect(readFileSync(join(folder, "onnx/model_q4.onnx")).includes("MatMulNBits")).toBe(true);
  });
});

/** The model with every weight rounded as the export rounds it. */
function quantized(model: Model, bits: Bits): Model {
  const isTable = (name: string) => /embed_tokens|lm_head/.test(name);
  const factor = (name: string, side: "left" | "right"): Tensor => {
    const read = (part: string) => model.checkpoint.read(name.replace(`.${side}.`, `.${part}.`));
    return scope(() => balanced({ left: read("left"), right: read("right") })[side]);
  };
  const read = (name: string): Tensor => {
    const [, side] = /\.(left|right)\.weight$/.exec(name) ?? [];
    const tensor = side ? factor(name, side as "left" | "right") : model.checkpoint.read(name);
    return tensor.shape.length === 2 ? rounded(tensor, isTable(name) ? 8 : bits) : tensor;
  };
  return { ...model, checkpoint: { tensors: model.checkpoint.tensors, read, close() {} } };
}

function rounded(weight: Tensor, bits: Bits): Tensor {
  return scope(() => {
    const { rows, columns } = weight;
    const missing = (BLOCK - (columns % BLOCK)) % BLOCK;
    const wide = missing === 0 ? weight : hcat(weight, Tensor.zeros([rows, missing]));
    const { codes, scales } = quantizeRows(wide.toFloat32Array(), bits);
    const steps = bits === 8 ? codes : Uint8Array.from(codes.length * 2 === wide.size ? unpack(codes) : []);
    const values = Float32Array.from(steps, (code, i) => (code - 2 ** (bits - 1)) * (scales[Math.floor(i / BLOCK)] as number));
    return vcat(Tensor.from(values, [rows, columns + missing]).columnRange(0, columns));
  });
}

function unpack(codes: Uint8Array): number[] {
  return [...codes].flatMap((byte) => [byte & 15, byte >> 4]);
}
