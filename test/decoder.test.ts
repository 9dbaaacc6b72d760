/** The decoder gives the logits of the whole text, token by token and in prompts, whatever a model's layers are stored in. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { Decoder } from "../src/evaluate/decoder.ts";
import { loadModel, type Model } from "../src/models/load.ts";
import { logitsOfTokens } from "../src/pipeline/verify-export.ts";
import { compress, PEQUOD, temporary } from "./pequod.ts";

const root = temporary("decoder");

/** @param prompt tokens that are given at once before the others come one by one */
function expectLogitsOfWholeText(model: Model, prompt: number) {
  const tokens = model.tokenizer.encode("The whale rose again, and the boats");
  const whole = logitsOfTokens(model, tokens);
  const decoder = new Decoder(model);
  for (let start = 0, end = prompt; end <= tokens.length; start = end, end++) {
    const logits = decoder.advance(tokens.subarray(start, end));
    const expected = whole.subarray((end - 1) * logits.length, end * logits.length);
    const worst = logits.reduce((max, value, j) => Math.max(max, Math.abs(value - (expected[j] as number))), 0);
    // f32 sums of some hundred terms in another order, logits of size 10.
    expect(worst).toBeLessThan(1e-3);
  }
  decoder.dispose();
}

test("the embedded model", async () => {
  const model = await loadModel(PEQUOD);
  for (const prompt of [1, 6]) expectLogitsOfWholeText(model, prompt);
});

test.each([
  { method: "svd-llm", dtype: "bf16" },
  { method: "svd-llm", dtype: "f32" },
  { method: "svd-llm", dtype: "bf16", joint: true },
  { method: "nid-i", dtype: "bf16" },
  { method: "modegpt", dtype: "bf16", allocate: "influence" },
] as const)(
  "a model compressed with $method in $dtype",
  async (options) => {
    const out = join(root, Object.values(options).join("-"));
    await compress({ out, keep: 0.7, ...options });
    const model = await loadModel(out);
    for (const prompt of [1, 6]) expectLogitsOfWholeText(model, prompt);
  },
  60_000,
);
