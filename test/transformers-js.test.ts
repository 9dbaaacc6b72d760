/** transformers.js loads an exported folder from the disk and writes the text that rankfold writes. */
import { rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { env, pipeline } from "@huggingface/transformers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { exportModel } from "../src/pipeline/export.ts";
import { exportOptions } from "../src/pipeline/export-options.ts";
import { generate } from "../src/pipeline/generate.ts";
import { silentJob } from "../src/pipeline/job.ts";
import { generateOptions, parseOptions } from "../src/pipeline/options.ts";
import { compressed, PEQUOD, temporaryFolder } from "./exported.ts";

const PROMPT = "The people of the United States";
const TOKENS = 24;

const root = temporaryFolder();
afterAll(() => rmSync(root, { recursive: true }));

/** Greedy, the prompt left out. */
async function theirs(folder: string, dtype: "fp32" | "q8" | "q4"): Promise<string> {
  env.allowRemoteModels = false;
  env.localModelPath = dirname(folder);
  const generator = await pipeline("text-generation", basename(folder), { dtype, local_files_only: true });
  const output = await generator(PROMPT, { max_new_tokens: TOKENS, do_sample: false, return_full_text: false });
  await generator.dispose();
  return (output as { generated_text: string }[])[0]?.generated_text as string;
}

async function ours(model: string): Promise<string> {
  const options = parseOptions(generateOptions, { model, prompt: PROMPT, tokens: TOKENS, chat: false });
  return (await generate(options, silentJob)).text;
}

describe.each(["dense", "compressed", "narrower-heads"])("the embedded model, %s", (kind) => {
  let model = PEQUOD;
  const out = join(root, kind);
  beforeAll(async () => {
    if (kind === "compressed") model = await compressed(root, { method: "svd-llm" });
    if (kind === "narrower-heads") model = await compressed(root, { method: "modegpt" });
    const options = { model, to: "onnx", out, dtype: ["fp32", "q8", "q4"], verify: false } as const;
    await exportModel(parseOptions(exportOptions, { ...options, dtype: [...options.dtype] }), silentJob);
  }, 60_000);

  test("continues a prompt as rankfold does", async () => {
    expect(await theirs(out, "fp32")).toBe(await ours(model));
  });

  test.each(["q8", "q4"] as const)("runs in %s", async (dtype) => {
    expect((await theirs(out, dtype)).length).toBeGreaterThan(TOKENS);
  });
});
