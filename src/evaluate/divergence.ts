/**
 * What a replacement does to the model's predictions: KL(dense || replaced), a token's mean in nats, each replacement alone.
 * All variants ride through the blocks together, so that one block's weights are in memory at a time.
 */
import {
  advanceBatches,
  type Batch,
  batchOf,
  disposeBatches,
  embedWindows,
  LOGIT_ROWS,
  logitsOf,
  readHead,
  sequencesOf,
} from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { type BlockWeights, forwardBlock } from "../models/model.ts";
import { readBlock } from "../models/weights.ts";
import { klDivergence, scope } from "../tensor/index.ts";

/** The first quarter of a window is context alone: predictions from little context say little. */
const CONTEXT = 1 / 4;
/** Every other prediction counts: the head is a quarter of the work, and neighbours say nearly the same. */
const STRIDE = 2;

/** Positions of a window that are context alone. */
export const contextOf = (length: number) => Math.floor(CONTEXT * length);

/** Weights to try for one block, by a name of the caller's; made when the block's turn comes. */
export type VariantsOf = (block: number, dense: BlockWeights) => ReadonlyMap<string, BlockWeights>;

/** @param between called between steps of a second or less, with the block's index. */
export function divergences(
  model: Model,
  windows: readonly Uint32Array[],
  variantsOf: VariantsOf,
  between: (block: number) => void = () => {},
): Map<string, number> {
  const dense = embedWindows(model, windows);
  const variants = new Map<string, Batch[]>();
  try {
    for (let block = 0; block < model.config.blocks; block++) {
      scope(() => advanceAll(model, block, { dense, variants, variantsOf, between: () => between(block) }));
    }
    return scope(() => compare(model, dense, variants));
  } finally {
    for (const batches of [dense, ...variants.values()]) disposeBatches(batches);
  }
}

interface Riders {
  readonly dense: readonly Batch[];
  /** The streams of the blocks' variants so far. */
  readonly variants: Map<string, Batch[]>;
  readonly variantsOf: VariantsOf;
  readonly between: () => void;
}

function advanceAll(model: Model, block: number, { dense, variants, variantsOf, between }: Riders): void {
  const weights = readBlock(model.checkpoint, model.architecture, model.config, block);
  for (const batches of variants.values()) advanceBatches(model, batches, weights, block, { between });
  for (const [name, variant] of variantsOf(block, weights)) {
    between();
    variants.set(
      name,
      dense.map(({ stream, run }) => {
        const x = forwardBlock(model.architecture, stream.read(), { config: model.config, weights: variant, run });
        return batchOf(run, x);
      }),
    );
  }
  advanceBatches(model, dense, weights, block, { between });
}

/** The mean divergence of each variant over the positions that have context. */
export function compare(model: Model, dense: readonly Batch[], variants: ReadonlyMap<string, Batch[]>): Map<string, number> {
  const head = readHead(model);
  const totals = new Map([...variants.keys()].map((name) => [name, 0]));
  let rows = 0;
  dense.forEach((batch, i) => {
    const positions = withContext(batch);
    for (let start = 0; start < positions.length; start += LOGIT_ROWS) {
      const part = positions.slice(start, start + LOGIT_ROWS);
      rows += part.length;
      scope(() => {
        const logits = ({ stream }: Batch) => logitsOf(model, head, stream.read().selectRows(part));
        const reference = logits(batch);
        for (const [name, batches] of variants) {
          const divergence = scope(() => klDivergence(reference, logits(batches[i] as Batch)));
          totals.set(name, (totals.get(name) as number) + divergence.reduce((a, b) => a + b, 0));
        }
      });
    }
  });
  return new Map([...totals].map(([name, total]) => [name, total / rows]));
}

/** Rows of a batch whose position in their window has enough context, every other one. */
function withContext(batch: Batch): number[] {
  return sequencesOf(batch).flatMap(({ start, end }) => {
    const first = start + contextOf(end - start);
    return Array.from({ length: Math.ceil((end - first) / STRIDE) }, (_, i) => first + STRIDE * i);
  });
}
