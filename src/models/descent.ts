/**
 * The gradients of the next token's negative log-likelihood, block by block from the last to the first, in the memory of one
 * block: each block's input waits in a holder on the way up, and the block runs again under a recording on the way down.
 */
import { draw, klDivergenceGradient, record, rmsNorm, scaleRows, scope, Tensor, vcat } from "../tensor/index.ts";
import {
  advanceBatches,
  type Batch,
  disposeBatches,
  embedWindows,
  type Head,
  LOGIT_ROWS,
  readHead,
  sequencesOf,
} from "./forward.ts";
import type { Model } from "./load.ts";
import type { BlockWeights, Run } from "./model.ts";
import type { Held, Holder } from "./streams.ts";
import { readBlock } from "./weights.ts";

/** A logit so far above the others that its token has all the probability. */
const CERTAIN = 1e4;

/** A batch at a block on the way down. */
export interface Pass {
  readonly run: Run;
  /** The block's input, t x d. */
  readonly x: Tensor;
  /** At the block's output, t x d. */
  readonly gradient: Tensor;
}

/** What is done at one block. */
export interface Landing {
  /** Gives the gradient at x; called once a batch. */
  down(pass: Pass): Tensor;
  /** After all batches. */
  leave(): void;
}

export interface Descent {
  readonly windows: readonly Uint32Array[];
  /** Where the inputs of all blocks wait; the caller closes it. */
  readonly holder: Holder;
  /** Position of a window from which on predictions count; 0 by default. The last position predicts nothing that is known. */
  readonly from?: (window: Uint32Array) => number;
  /** Numbers in [0, 1) that draw labels from the model's own predictions; without them labels are the text's tokens. */
  readonly random?: () => number;
  readonly enter: (block: number, weights: BlockWeights) => Landing;
  /** Called before each block. */
  readonly between: (step: number, steps: number) => void;
}

export function descend(model: Model, descent: Descent): void {
  const { blocks } = model.config;
  const { windows, holder, enter, between } = descent;
  const batches = embedWindows(model, windows, holder);
  try {
    const inputs = Array.from({ length: blocks }, (_, block) => {
      between(block, 2 * blocks);
      return scope(() => advanceKeeping(model, batches, block, holder));
    });
    const gradients = scope(() => enterHead(readHead(model), model.config.normEps, batches, descent));
    for (let block = blocks - 1; block >= 0; block--) {
      between(2 * blocks - 1 - block, 2 * blocks);
      scope(() => {
        const landing = enter(block, readBlock(model.checkpoint, model.architecture, model.config, block));
        goDown(landing, { batches, inputs: inputs[block] as Held[], gradients });
      });
    }
    for (const held of gradients) held.dispose();
  } finally {
    disposeBatches(batches);
  }
}

/** Moves the batches through a block; gives what they were before. */
function advanceKeeping(model: Model, batches: readonly Batch[], block: number, holder: Holder): Held[] {
  const inputs = batches.map(({ stream }) => scope(() => holder.hold(stream.read().contiguous())));
  advanceBatches(model, batches, readBlock(model.checkpoint, model.architecture, model.config, block), block);
  return inputs;
}

type Target = number | undefined;

/** The gradients at the last block's output, a batch each. */
function enterHead(head: Head, normEps: number, batches: readonly Batch[], descent: Descent): Held[] {
  const rest = [...descent.windows];
  return batches.map((batch) =>
    scope(() => {
      const x = batch.stream.read();
      const targets = rest
        .splice(0, sequencesOf(batch).length)
        .flatMap((window) => targetsOf(window, descent.from?.(window) ?? 0));
      const { output: h, recording } = record([x], () => rmsNorm(x, head.norm, normEps));
      const gradient = recording.gradients(h, likelihoodGradient(h, head, targets, descent.random)).get(x) as Tensor;
      return descent.holder.hold(gradient);
    }),
  );
}

/** The token that follows each position; undefined where the prediction does not count. */
function targetsOf(window: Uint32Array, from: number): Target[] {
  return Array.from(window, (_, i) => (i < from ? undefined : window[i + 1]));
}

/** At the normed states h, t x d; zero where nothing counts. */
function likelihoodGradient(h: Tensor, { table }: Head, targets: readonly Target[], random: (() => number) | undefined): Tensor {
  const parts = Array.from({ length: Math.ceil(h.rows / LOGIT_ROWS) }, (_, i) => {
    const part = targets.slice(i * LOGIT_ROWS, (i + 1) * LOGIT_ROWS);
    return scope(() => {
      const logits = h.rowRange(i * LOGIT_ROWS, i * LOGIT_ROWS + part.length).matmulTransposed(table); // t x v
      const labels = random ? draw(logits, Float64Array.from(part, random)) : part;
      const { gradient } = klDivergenceGradient(certainties(labels, logits.columns), logits, 1);
      const counts = part.map((target) => (target === undefined ? 0 : 1));
      return scaleRows(gradient.matmul(table), counts);
    });
  });
  return vcat(...parts);
}

/** Logits that say the labels alone, t x v. */
function certainties(labels: ArrayLike<Target>, vocabulary: number): Tensor {
  const logits = new Float32Array(labels.length * vocabulary);
  for (let row = 0; row < labels.length; row++) {
    const label = labels[row];
    if (label !== undefined) logits[row * vocabulary + label] = CERTAIN;
  }
  return Tensor.from(logits, [labels.length, vocabulary]);
}

interface Stair {
  readonly batches: readonly Batch[];
  /** The block's input, a batch each; used up. */
  readonly inputs: readonly Held[];
  /** At the block's output before, at its input afterwards. */
  readonly gradients: readonly Held[];
}

function goDown(landing: Landing, { batches, inputs, gradients }: Stair): void {
  batches.forEach(({ run }, i) => {
    const [input, gradient] = [inputs[i] as Held, gradients[i] as Held];
    scope(() => gradient.set(landing.down({ run, x: input.read(), gradient: gradient.read() })));
    input.dispose();
  });
  landing.leave();
}
