/**
 * What a replacement does to the model's predictions, to second order and without running what follows its block:
 *
 *   KL(dense || replaced) ~ E h(g . e)    e  change of the block's output at a token, d
 *                                         g  gradient there of the log-likelihood of a label drawn from the dense model
 *                                         h  z^2 / 2 up to |z| = 1, |z| - 1/2 beyond (Huber)
 *
 * for E g g^T is the Fisher matrix, the Hessian of KL where nothing is replaced; and no label's log-likelihood, which changes by z
 * to first order, makes KL grow faster than itself. Changes at different tokens are taken to be felt apart. One pass up and down
 * the blocks serves all replacements, and each of them costs one block's forward pass.
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
      const sums = new Map([...variants.keys()].map((name) => [name, 0]));
      return {
        down({ run, x, gradient }) {
          const forward = (own: BlockWeights) => forwardBlock(model.architecture, x, { config: model.config, weights: own, run });
          const { output, recording } = record([x], () => forward(weights));
          for (const [name, variant] of variants) {
            const added = scope(() => felt(forward(variant).sub(output), gradient));
            sums.set(name, (sums.get(name) as number) + added);
          }
          return recording.gradients(output, gradient).get(x) as Tensor;
        },
        leave() {
          for (const [name, sum] of sums) found.set(name, sum / predictions);
        },
      };
    },
  });
  return found;
}

/** sum of h(g . e) over the rows of e and g. */
function felt(e: Tensor, g: Tensor): number {
  const changes = e.mul(g).rowSums().toFloat64Array();
  return changes.reduce((sum, z) => sum + (Math.abs(z) <= 1 ? z ** 2 / 2 : Math.abs(z) - 1 / 2), 0);
}
