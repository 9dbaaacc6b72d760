/**
 * The gradient of the divergence from the dense model's predictions at every weight. The last blocks are recorded on the way up,
 * as many as memory has room for; of the others the input is kept alone, and they run again on the way down (Chen et al. 2016,
 * arXiv:1604.06174). One block's gradients exist at a time.
 */
import { NumericsError } from "../errors.ts";
import { type Batch, batchWindows, disposeBatches } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { type BlockWeights, forwardBlock, type Run } from "../models/model.ts";
import { BYTES, dispose, keep, record, rmsNorm, scope, type Tensor } from "../tensor/index.ts";
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
  const [batch] = batchWindows(student.model, student.embedding, windowsOf(chosen)) as [Batch];
  const passes: Pass[] = [];
  let x = batch.stream.read();
  try {
    const first = student.blocks.length - recordedBlocks(student.model, x.rows);
    for (let block = 0; block < student.blocks.length; block++) {
      between();
      const { output, recording } = forwardOf(student, block, { run: batch.run, x, records: block >= first });
      passes.push({ run: batch.run, x, recorded: recording && { output, recording } });
      x = output;
    }
    const { divergence, gradient } = enterHead(student, teacher, { x, indices: chosen.indices, visit });
    let dy = gradient;
    for (let block = passes.length - 1; block >= 0; block--) dy = goDown(student, block, passes.pop() as Pass, dy, visit);
    dy.dispose();
    return divergence;
  } finally {
    for (const pass of passes) pass.recorded?.recording.dispose();
    dispose([passes.map((pass) => pass.x), x]);
    disposeBatches([batch]);
  }
}

/** What recordings of blocks may hold on the way up; a block that was recorded there needs no second pass. */
export const RECORDED_BYTES = 2 * 2 ** 30;

/** Bytes that the recording of a block of so many rows holds, nearly: what its projections read and give. */
export function recordingBytes({ architecture, config }: Model, rows: number): number {
  const shapes = architecture.projections(config, 0);
  return rows * BYTES.f32 * shapes.reduce((sum, shape) => sum + shape.rows + shape.columns, 0);
}

function recordedBlocks(model: Model, rows: number): number {
  return Math.min(model.config.blocks, Math.floor(RECORDED_BYTES / recordingBytes(model, rows)));
}

/** A block on the way up: its input (t x d), and its recording where there is one. */
interface Pass {
  readonly run: Run;
  readonly x: Tensor;
  readonly recorded: Recorded | undefined;
}

type Recorded = ReturnType<typeof record>;

/** The block's output, which lives until it is disposed of, and how it depends on the weights and the input. */
function forwardOf(
  student: Student,
  block: number,
  { run, x, records }: { run: Run; x: Tensor; records: boolean },
): { output: Tensor; recording: Recorded["recording"] | undefined } {
  const { architecture, config } = student.model;
  const work = () => forwardBlock(architecture, x, { config, weights: student.blocks[block] as BlockWeights, run });
  if (!records) return { output: keep(work()), recording: undefined };
  const { output, recording } = record([x, ...movable(student, block)], work);
  return { output: keep(output), recording };
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

/** From the gradient at a block's output to that at its input; frees the input and dy. */
function goDown(student: Student, block: number, { run, x, recorded }: Pass, dy: Tensor, visit: Visit): Tensor {
  return scope(() => {
    const { output, recording } = recorded ?? (forwardOf(student, block, { run, x, records: true }) as Recorded);
    const gradients = recording.gradients(output, dy);
    visit(block, gradients);
    dispose([x, dy, output]);
    return keep(gradients.get(x) as Tensor);
  });
}
