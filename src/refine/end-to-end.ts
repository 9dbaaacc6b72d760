/**
 * The gradient of the divergence from the dense model's predictions at every weight. Each block's input is kept on the way up,
 * and the block runs again under a recording on the way down (Chen et al. 2016, arXiv:1604.06174), so that one block's
 * intermediate values and gradients exist at a time.
 */
import { NumericsError } from "../errors.ts";
import { type Batch, batchWindows, disposeBatches } from "../models/forward.ts";
import { type BlockWeights, forwardBlock, type Run } from "../models/model.ts";
import { dispose, keep, record, rmsNorm, scope, type Tensor } from "../tensor/index.ts";
import { type Chosen, divergenceAt, windowsOf } from "./divergence.ts";
import { movable, type Student } from "./student.ts";
import type { Teacher } from "./teacher.ts";

/** Where gradients are: a block by its index, or the norm before the head. */
export type Place = number | "norm";

/** Given the gradients of a place's weights, by the weight; they live until it returns. It may replace the weights. */
export type Visit = (place: Place, gradients: ReadonlyMap<Tensor, Tensor>) => void;

/**
 * Visits the norm, then the blocks from the last to the first; gives the mean divergence of a token.
 * @param chosen windows of one batch, whose dense states are prepared
 * @param between called between blocks on the way up
 * @throws NumericsError when the divergence is not finite, before anything is visited.
 */
export function backward(student: Student, teacher: Teacher, chosen: Chosen, visit: Visit, between: () => void): number {
  const { model, embedding, blocks } = student;
  const [batch] = batchWindows(model, embedding, windowsOf(chosen)) as [Batch];
  const { run } = batch;
  const inputs: Tensor[] = []; // each block's, t x d
  let x = batch.stream.read();
  try {
    for (const weights of blocks) {
      between();
      inputs.push(x);
      x = keep(forwardBlock(model.architecture, x, { config: model.config, weights, run }));
    }
    const { divergence, gradient } = enterHead(student, teacher, { x, indices: chosen.indices, visit });
    let dy = gradient;
    for (let block = blocks.length - 1; block >= 0; block--)
      dy = goDown(student, block, { run, x: inputs.pop() as Tensor, dy, visit });
    dy.dispose();
    return divergence;
  } finally {
    dispose([inputs, x]);
    disposeBatches([batch]);
  }
}

interface Head {
  /** The last block's output. */
  readonly x: Tensor;
  readonly indices: readonly number[];
  readonly visit: Visit;
}

/** The divergence, and its gradient at x. */
function enterHead(student: Student, teacher: Teacher, { x, indices, visit }: Head): { divergence: number; gradient: Tensor } {
  return scope(() => {
    const { output: h, recording } = record([x, student.norm], () => rmsNorm(x, student.norm, student.model.config.normEps));
    const { divergence, dh } = divergenceAt(h, teacher.statesOf(indices), student, teacher);
    if (!Number.isFinite(divergence))
      throw new NumericsError("the divergence from the dense model is not finite; lower the learning rate");
    const gradients = recording.gradients(h, dh);
    const gradient = keep(gradients.get(x) as Tensor);
    visit("norm", gradients);
    return { divergence, gradient };
  });
}

interface BlockBelow {
  readonly run: Run;
  /** Its input, t x d. */
  readonly x: Tensor;
  /** Gradient at the block's output, t x d. */
  readonly dy: Tensor;
  readonly visit: Visit;
}

/** From the gradient at a block's output to that at its input x; frees both x and dy. */
function goDown(student: Student, block: number, { run, x, dy, visit }: BlockBelow): Tensor {
  const { architecture, config } = student.model;
  const weights = student.blocks[block] as BlockWeights;
  return scope(() => {
    const { output, recording } = record([x, ...movable(student, block)], () =>
      forwardBlock(architecture, x, { config, weights, run }),
    );
    const gradients = recording.gradients(output, dy);
    visit(block, gradients);
    dispose([x, dy]);
    return keep(gradients.get(x) as Tensor);
  });
}
