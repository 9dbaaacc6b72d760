/** Predicted peak memory of a compression: a property of its schedule, not of the number of blocks. */
import { MemoryError } from "../errors.ts";
import { BATCH_TOKENS } from "../models/forward.ts";
import type { Model } from "../models/load.ts";
import { BYTES } from "../tensor/index.ts";
import type { Options, Plan } from "./plan.ts";

/** Node, the addon, the tokenizer and V8's heap, measured on the embedded model. */
export const PROCESS_BYTES = 180e6;

export function predictedPeakBytes(
  model: Model,
  plan: Pick<Plan, "measured" | "propagate">,
  options: Pick<Options, "samples" | "window">,
): number {
  const { config, architecture } = model;
  const { f32, f64 } = BYTES;
  const shapes = architecture.projections(config, 0);
  const weights = shapes.reduce((sum, s) => sum + s.rows * s.columns, 0) * f32;
  const outer = config.vocabulary * config.hiddenSize * f32;
  const widest = Math.max(...shapes.map((s) => s.columns));
  // The largest decomposition: the matrix, its Gram, eigenvectors and the work space, in f64.
  const decomposition = Math.max(...shapes.map((s) => 4 * s.rows * s.columns + 5 * Math.min(s.rows, s.columns) ** 2)) * f64;
  if (!plan.measured) return PROCESS_BYTES + Math.max(outer, weights + decomposition);
  const tokens = options.samples * options.window;
  const streams = plan.propagate === "compressed" ? 2 : 1;
  const stream = streams * tokens * config.hiddenSize * f32;
  const siteWidths = [...new Map(shapes.map((s) => [s.site, s.columns])).values()];
  const sums = siteWidths.reduce((sum, n) => sum + n * n * (f64 + f32), 0) + widest * widest * f64;
  const batch = BATCH_TOKENS * (6 * config.hiddenSize + 4 * widest) * f32;
  return PROCESS_BYTES + stream + Math.max(outer, weights + sums + Math.max(batch, decomposition));
}

/** @throws MemoryError when `what` needs more bytes than are allowed, naming the options that would lower it. */
export function refuseAbove(allowed: number | undefined, needed: number, what: string, smaller: string): void {
  if (allowed === undefined || needed <= allowed) return;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
  const remedy = `raise --memory, or lower ${smaller}`;
  throw new MemoryError(`--memory: ${what} needs about ${gigabytes(needed)}, ${gigabytes(allowed)} are allowed; ${remedy}`);
}
