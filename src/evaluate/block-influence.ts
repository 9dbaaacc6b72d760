/** How much each block changes the residual stream: 1 - mean cosine of its input and output. Men et al. 2024, arXiv:2403.03853. */
import { advanceBatches, type Batch, disposeBatches, embedWindows } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { readBlock } from "../models/weights.ts";
import { scope, type Tensor } from "../tensor/index.ts";

/** One value a block, in [0, 2]. @param between called between steps of a second or less, with the block's index. */
export function blockInfluences(
  model: Model,
  windows: readonly Uint32Array[],
  between: (block: number) => void = () => {},
): number[] {
  const batches = embedWindows(model, windows);
  try {
    return Array.from({ length: model.config.blocks }, (_, block) => scope(() => influence(model, batches, block, between)));
  } finally {
    disposeBatches(batches);
  }
}

function influence(model: Model, batches: readonly Batch[], block: number, between: (block: number) => void): number {
  const before = batches.map(({ stream }) => stream.read().scale(1)); // streams are freed as they advance
  const weights = readBlock(model.checkpoint, model.architecture, model.config, block);
  advanceBatches(model, batches, weights, block, { between: () => between(block) });
  const cosines = batches.flatMap(({ stream }, i) => rowCosines(before[i] as Tensor, stream.read()));
  return 1 - cosines.reduce((a, b) => a + b, 0) / cosines.length;
}

function rowCosines(a: Tensor, b: Tensor): number[] {
  const inner = (x: Tensor, y: Tensor) => scope(() => x.mul(y).rowSums().toFloat64Array());
  const [aa, ab, bb] = [inner(a, a), inner(a, b), inner(b, b)];
  return Array.from(ab, (value, i) => value / (Math.sqrt((aa[i] as number) * (bb[i] as number)) || 1));
}
