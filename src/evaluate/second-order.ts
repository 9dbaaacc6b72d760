/**
 * What a replacement does to the model's predictions, to second order and without running what follows its block:
 *
 *   KL(dense || replaced) ~ 1/2 E (g . e)^2     e  change of the block's output at a token, d
 *                                               g  gradient there of the log-likelihood of a label drawn from the dense model
 *
 * for E g g^T is the Fisher matrix, the Hessian of KL where nothing is replaced. Changes at different tokens are taken to be felt
 * apart. One pass up and down the blocks serves all replacements, and each of them costs one block's forward pass.
 */
import { descend } from "../models/descent.ts";
import type { Model } from "../models/load.ts";
import { type BlockWeights, forwardBlock } from "../models/model.ts";
import type { Holder } from "../models/streams.ts";
import { mulberry32 } from "../random.ts";
import { record, scope, type Tensor } from "../tensor/index.ts";
import { contextOf, type VariantsOf } from "./divergence.ts";

const SEED = 0;

export interface SecondOrder {
  readonly windows: readonly Uint32Array[];
  /** Where activations wait. */
  readonly holder: Holder;
  readonly variantsOf: VariantsOf;
  /** Called before each block, on the way up and down. */
  readonly between: (step: number, steps: number) => void;
}

/** The mean divergence of a prediction with enough context, nats, by variant. */
export function secondOrderDivergences(model: Model, { windows, holder, variantsOf, between }: SecondOrder): Map<string, number> {
  const predictions = windows.reduce((sum, window) => sum + window.length - 1 - contextOf(window.length), 0);
  const found = new Map<string, number>();
  descend(model, {
    ...{ windows, holder, between, random: mulberry32(SEED) },
    from: ({ length }) => contextOf(length),
    enter(block, weights) {
      const variants = variantsOf(block, weights);
      const squares = new Map([...variants.keys()].map((name) => [name, 0]));
      return {
        down({ run, x, gradient }) {
          const forward = (own: BlockWeights) => forwardBlock(model.architecture, x, { config: model.config, weights: own, run });
          const { output, recording } = record([x], () => forward(weights));
          for (const [name, variant] of variants) {
            const added = scope(() => squaredDots(forward(variant).sub(output), gradient));
            squares.set(name, (squares.get(name) as number) + added);
          }
          return recording.gradients(output, gradient).get(x) as Tensor;
        },
        leave() {
          for (const [name, sum] of squares) found.set(name, sum / (2 * predictions));
        },
      };
    },
  });
  return found;
}

/** sum over rows of (a . b)^2. */
function squaredDots(a: Tensor, b: Tensor): number {
  const dots = a.mul(b).rowSums().toFloat64Array();
  return dots.reduce((sum, dot) => sum + dot * dot, 0);
}
