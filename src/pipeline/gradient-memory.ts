/** Predicted memory of the pass that sums output gradients: a block's recording and its sums, or the logits at the head. */
import { LOGIT_ROWS } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { recordingBytes } from "../refine/end-to-end.ts";
import { BYTES } from "../tensor/index.ts";

const { f32, f64 } = BYTES;

/** Beside what the process has when it begins. @param rows tokens that go through a block together. */
export function gradientPassBytes(model: Model, rows: number): number {
  const { architecture, config } = model;
  const shapes = architecture.projections(config, 0);
  const sum = (bytesOf: (shape: (typeof shapes)[number]) => number) => shapes.reduce((total, shape) => total + bytesOf(shape), 0);
  const weights = sum(({ rows: m, columns: n }) => m * n * f32);
  // The sums, and the triangles that are stored.
  const sums = sum(({ rows: m }) => 1.5 * m * m * f64);
  // Values on the way up, what is added to the outputs, and the gradients of both.
  const block = weights + sums + 3 * recordingBytes(model, rows);
  // Logits, the targets' in two copies, and their gradient, over the table in f32.
  const head = (config.vocabulary * (config.hiddenSize + 4 * LOGIT_ROWS) + 4 * rows * config.hiddenSize) * f32;
  return Math.max(block, head);
}
