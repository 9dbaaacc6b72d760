/** The benchmarks' random models. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
// @ts-expect-error a program, without types
import { decayingMatrix, writeRandomModel } from "../bench/random-model.mjs";
import { loadModel } from "../src/models/load.ts";
import { mulberry32 } from "../src/random.ts";
import { scope, svd, Tensor } from "../src/tensor/index.ts";
import { temporary } from "./pequod.ts";

test.each([
  [12, 12],
  [7, 30],
  [33, 9],
])("weights have singular values that fall as i^-decay, and rows of length 1/2 on average, %i x %i", (m, n) => {
  const W = scope(() => Tensor.from(decayingMatrix(m, n, 0.7, mulberry32(3)), [m, n]));
  const { values } = svd(W);
  // f32 rotations, about log2(m n) of them on each value.
  for (const [i, sigma] of values.entries()) expect((sigma / (values[0] as number)) * (i + 1) ** 0.7).toBeCloseTo(1, 4);
  expect(W.sumOfSquares() / m).toBeCloseTo(1 / 4, 4);
});

test("a random model is a model, in shards, the same for the same seed", async () => {
  const shape = { hidden_size: 64, intermediate_size: 96, num_hidden_layers: 2, num_attention_heads: 4, vocab_size: 300 };
  const [a, b] = [join(temporary("random"), "a"), join(temporary("random"), "b")];
  for (const folder of [a, b]) writeRandomModel(folder, shape, { seed: 7, shardBytes: 40_000 });
  expect(readdirSync(a).filter((name) => name.endsWith(".safetensors")).length).toBeGreaterThan(2);
  const [first, second] = [await loadModel(a), await loadModel(b)];
  const name = "model.layers.1.mlp.down_proj.weight";
  scope(() => expect(first.checkpoint.read(name).sub(second.checkpoint.read(name)).sumOfSquares()).toBe(0));
});
