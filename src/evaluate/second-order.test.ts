import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { PEQUOD, TEXT } from "../../test/pequod.ts";
import { loadModel } from "../models/load.ts";
import type { BlockWeights, Dense } from "../models/model.ts";
import { inMemory } from "../models/streams.ts";
import { divergences } from "./divergence.ts";
import { secondOrderDivergences } from "./second-order.ts";

/** Every projection of the block but this one as it is; this one larger by a share of itself. */
function enlarged(weights: BlockWeights, name: string, share: number): BlockWeights {
  const layer = weights.linears.get(name) as Dense;
  return { ...weights, linears: new Map([...weights.linears, [name, { ...layer, weight: layer.weight.scale(1 + share) }]]) };
}

const CHANGED = ["self_attn.o_proj", "mlp.down_proj", "self_attn.q_proj"];

test("of small changes it is the divergence, within what one drawn label a token can tell", async () => {
  const model = await loadModel(PEQUOD);
  const ids = model.tokenizer.encode(readFileSync(TEXT, "utf8"));
  const windows = Array.from({ length: 16 }, (_, i) => ids.subarray(128 * i, 128 * (i + 1)));
  const variantsOf = (block: number, weights: BlockWeights) =>
    new Map(CHANGED.map((name) => [`${block} ${name}`, enlarged(weights, name, 0.05)]));
  const estimated = secondOrderDivergences(model, { windows, holder: inMemory, variantsOf, between() {} });
  const measured = divergences(model, windows, variantsOf);
  expect(estimated.size).toBe(CHANGED.length * model.config.blocks);
  // Squares of 1536 drawn labels' gradients scatter by some tenths; changes that tokens feel together are not counted.
  const ratios = [...measured].map(([name, divergence]) => (estimated.get(name) as number) / divergence);
  for (const ratio of ratios) expect(ratio).toBeGreaterThan(0.5);
  for (const ratio of ratios) expect(ratio).toBeLessThan(2);
  const middle = ratios.toSorted((a, b) => a - b)[Math.floor(ratios.length / 2)] as number;
  expect(Math.abs(Math.log(middle))).toBeLessThan(0.2);
});

test("nothing changed costs nothing", async () => {
  const model = await loadModel(PEQUOD);
  const windows = [Uint32Array.from({ length: 32 }, (_, i) => i * 7)];
  const variantsOf = (block: number, weights: BlockWeights) => new Map([[`${block}`, weights]]);
  const found = secondOrderDivergences(model, { windows, holder: inMemory, variantsOf, between() {} });
  expect([...found.values()]).toEqual(Array.from({ length: model.config.blocks }, () => 0));
});
