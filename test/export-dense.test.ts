/** What `export --to dense` writes is an ordinary model with the compressed one's logits. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { UnsupportedError } from "../src/errors.ts";
import { logitDifference } from "../src/evaluate/logit-difference.ts";
import { readJson } from "../src/formats/json.ts";
import { loadModel, type Model } from "../src/models/load.ts";
import { exportDense } from "../src/pipeline/export-dense.ts";
import type { DenseDType } from "../src/pipeline/export-options.ts";
import { silentJob } from "../src/pipeline/job.ts";
import { referenceLogits } from "../src/pipeline/verify-export.ts";
import { compressed, narrower, narrowerHeads, PEQUOD, temporaryFolder } from "./exported.ts";

const PYTHON = process.env.RANKFOLD_PYTHON;
const root = temporaryFolder();
afterAll(() => rmSync(root, { recursive: true }));

let folders = 0;
async function exported(model: Model, dtype?: DenseDType) {
  const folder = join(root, `dense-${folders++}`);
  mkdirSync(folder);
  const notes: string[] = [];
  const job = { ...silentJob, note: (line: string) => notes.push(line) };
  return { folder, notes, ...(await exportDense(model, folder, { dtype, verify: true }, job)) };
}

describe("a compressed model", () => {
  const folders = new Map<string, string>();
  beforeAll(async () => {
    const kinds = {
      biases: { method: "rom", center: "mean" },
      skeletons: { method: "nid-i" },
      joint: { method: "svd-llm", joint: true },
    } as const;
    for (const [kind, options] of Object.entries(kinds)) folders.set(kind, await compressed(root, options));
  }, 60_000);
  const modelOf = async (kind: string) =>
    kind === "narrower"
      ? narrower(await loadModel(PEQUOD))
      : kind === "narrower heads"
        ? narrowerHeads(await loadModel(PEQUOD), 11, 20)
        : loadModel(folders.get(kind) as string);

  test.each(["biases", "skeletons", "joint", "narrower", "narrower heads"])(
    "(%s) is whole again, under its own type",
    async (kind) => {
      const { folder, check, notes } = await exported(await modelOf(kind), "f32");
      expect(check?.prompt).toBeLessThan(2e-5);
      const config = readJson(join(folder, "config.json"));
      expect(config).toMatchObject({ model_type: "llama", architectures: ["LlamaForCausalLM"], dtype: "float32" });
      expect(Object.keys(config).filter((key) => /^(projection_|block_widths|auto_map)/.test(key))).toEqual([]);
      expect([config.attention_bias, config.intermediate_size]).toEqual([kind === "biases", 704]);
      expect(notes.join()).toMatch(/saves nothing/);
    },
  );

  test("is written in the model's own dtype by default", async () => {
    const { folder, dtype, check } = await exported(await modelOf("skeletons"));
    expect(dtype).toBe("bf16");
    expect(readJson(join(folder, "config.json")).torch_dtype).toBe("bfloat16");
    expect(check?.divergence).toBeLessThan(1e-3);
  });

  test("of a family without biases is refused by name", async () => {
    const model = await modelOf("biases");
    const mistral = { ...model, config: { ...model.config, modelType: "mistral" } };
    await expect(exported(mistral)).rejects.toThrow(UnsupportedError);
  });

  test.skipIf(!PYTHON).each(["biases", "narrower", "narrower heads"])(
    "(%s) loads in transformers without code of ours (skipped unless RANKFOLD_PYTHON is a Python with torch and transformers)",
    async (kind) => {
      const model = await modelOf(kind);
      const { folder } = await exported(model, "f32");
      const reference = referenceLogits(model);
      const file = join(root, `logits-${kind}.bin`);
      execFileSync(PYTHON as string, ["-c", LOGITS, folder, file, JSON.stringify([...reference.tokens])]);
      const bytes = readFileSync(file);
      const got = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      expect(logitDifference(reference, got).relative).toBeLessThan(1e-4);
    },
  );
});

const LOGITS = `
import json, sys, torch, transformers
folder, out, ids = sys.argv[1:]
model = transformers.AutoModelForCausalLM.from_pretrained(folder)
assert type(model).__name__ == "LlamaForCausalLM", type(model)
with torch.no_grad():
    logits = model(torch.tensor([json.loads(ids)])).logits
open(out, "wb").write(logits.float().numpy().tobytes())
`;

test("a model that was never compressed stays as it is", async () => {
  const { folder, check } = await exported(await loadModel(PEQUOD));
  expect(check?.prompt).toBe(0);
  expect((await loadModel(folder)).bytes).toBe((await loadModel(PEQUOD)).bytes);
});
