/**
 * The last matrix of every new layer by least squares, from the inputs that the compressed blocks before it make, to the dense
 * projection's own output: SVD-LLM's update of the left factor (Wang et al. 2025, arXiv:2403.07378) with AA-SVD's targets
 * (arXiv:2604.02119). A token counts by the relative error of its output, or the few with massive activations would decide alone.
 *
 *   L  m x k   left factor, or a narrower projection     y  t x m   dense outputs, each divided by its length
 *   z  t x k   what L is applied to, divided alike        L' = (Y^T Z + mu L) (Z^T Z + mu I)^-1
 */
import type { Batch } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { type Block, type BlockState, type BlockWeights, type Linear, linear, type Stage } from "../models/model.ts";
import { nameInBlock } from "../models/weights.ts";
import { cholesky, dispose, identity, keep, scope, solveLower, Tensor } from "../tensor/index.ts";

/** mu relative to the mean of Z^T Z's diagonal: what the text says nothing of stays as it was. */
const RIDGE = 1e-2;

/** Added to a squared length, so that an output of zeros divides by something. */
const SMALLEST = 1e-30;

/** A block of one of the two models, and the windows before it. */
export interface Side {
  readonly model: Model;
  readonly weights: BlockWeights;
  readonly batches: readonly Batch[];
}

/** Replaces layers of the compressed side's block, whose tensors outlive every scope; those replaced are freed. */
export function solveBlock(index: number, dense: Side, compressed: Side, between: () => void): void {
  const [a, b] = [new Walk(dense), new Walk(compressed)];
  const shapes = dense.model.architecture.projections(dense.model.config, index);
  try {
    for (const stage of dense.model.architecture.stages) {
      for (const walk of [a, b]) walk.advance(stage, between);
      for (const { name } of shapes.filter(({ site }) => site === stage.name)) solveLayer(nameInBlock(name), a, b, between);
    }
  } finally {
    for (const walk of [a, b]) walk.dispose();
  }
}

/** All windows between two sites of a block. */
class Walk {
  readonly side: Side;
  private states: BlockState[];

  constructor(side: Side) {
    this.side = side;
    // Handles of their own: the batches keep theirs.
    this.states = side.batches.map(({ stream }) => {
      const x = stream.read();
      const share = () => keep(x.reshape(...x.shape));
      return { x: share(), input: share() };
    });
  }

  /** What the site reads, batch by batch. */
  get inputs(): readonly Tensor[] {
    return this.states.map(({ input }) => input);
  }

  advance(stage: Stage, between: () => void): void {
    const { model, weights, batches } = this.side;
    this.states = this.states.map((state, i) => {
      between();
      const block: Block = { config: model.config, weights, run: (batches[i] as Batch).run };
      const next = keep(scope(() => stage.advance(state, block)));
      if (next.x !== state.x) state.x.dispose();
      if (next.input !== state.input) state.input.dispose();
      return next;
    });
  }

  dispose(): void {
    dispose(this.states.map(({ x, input }) => [x, input]));
  }
}

function solveLayer(name: string, dense: Walk, compressed: Walk, between: () => void): void {
  const { linears } = compressed.side.weights;
  const original = dense.side.weights.linears.get(name) as Linear;
  const layer = linears.get(name) as Linear;
  const last = lastMatrix(layer, original);
  if (!last) return;
  const inputs = compressed.inputs;
  const solved = scope(() => {
    const m = last.rows;
    let cross = Tensor.zeros([m, last.columns], "f64");
    let gram = Tensor.zeros([last.columns, last.columns], "f64");
    dense.inputs.forEach((input, i) => {
      between();
      [cross, gram] = scope(() => {
        const { y, z } = relative(linear(input, original), inputs[i] as Tensor, layer);
        return [cross.add(y.T.matmul(z).to("f64")), gram.add(z.T.matmul(z).to("f64"))];
      });
    });
    return keep(ridgeTowards(last, cross, gram));
  });
  linears.set(name, "left" in layer ? { ...layer, left: solved } : { ...layer, weight: solved });
  last.dispose();
}

/** What of a layer can be solved for: its outputs must be the dense one's, its inputs fewer or others. */
function lastMatrix(layer: Linear, original: Linear): Tensor | undefined {
  if ("left" in layer) return layer.left;
  const { weight } = original as { weight: Tensor };
  return layer.weight.rows === weight.rows && layer.weight.columns < weight.columns ? layer.weight : undefined;
}

/** The output without the bias, and what the last matrix is applied to, both divided by the output's length. */
function relative(output: Tensor, input: Tensor, layer: Linear): { y: Tensor; z: Tensor } {
  const target = layer.bias ? output.sub(layer.bias) : output;
  const lengths = target.mul(target).rowSums().affine(1, SMALLEST).power(-0.5); // t x 1
  const z = "left" in layer ? input.matmulTransposed(layer.right) : input;
  return { y: target.mul(lengths), z: z.mul(lengths) };
}

/** (cross + mu L) (gram + mu I)^-1, f32; L itself where the Gram matrix is nothing. */
function ridgeTowards(L: Tensor, cross: Tensor, gram: Tensor): Tensor {
  return scope(() => {
    const k = gram.rows;
    const eye = identity(k);
    const mu =
      (RIDGE *
        gram
          .mul(eye)
          .rowSums()
          .toFloat64Array()
          .reduce((a, b) => a + b, 0)) /
      k;
    const factor = cholesky(gram.add(eye.scale(mu)));
    if (!factor) return L.contiguous().reshape(...L.shape);
    const right = cross.add(L.to("f64").scale(mu)).T;
    return solveLower(factor, solveLower(factor, right.contiguous()), true).T.contiguous().to("f32");
  });
}
