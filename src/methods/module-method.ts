/** The contract of module methods: several projections replaced together by smaller dense ones; mathematics only. */
import type { RopeTable, Tensor } from "../tensor/index.ts";

/** A gated MLP seen from its channels: y = D h, h_i = silu(g_i x) (u_i x) with g_i, u_i the rows of gate and up. */
export interface ChannelProblem {
  /** D, m x f, f64: the down projection. */
  readonly down: Tensor;
  /** C = sum of h h^T over calibration tokens, f x f, f64, symmetric. */
  readonly gram: Tensor;
  /** L of output-metric.ts, m x m: errors count as ||L^T E||; absent where all directions of y count alike. */
  readonly metric?: Tensor | undefined;
}

/** How units are put in order: one after the other, the loss of all those dropped in mind, or each by a score of its own. */
export type UnitOrder = "elimination" | "scores";

/** Which channels to keep, for every width at once. */
export interface ChannelReduction {
  /** All f channels, the most useful first: width k keeps the first k. */
  readonly order: Uint32Array;
  /** Squared calibration loss of losing each channel of `order`, those before it kept: the loss at width k is the sum from k on. In the metric. */
  readonly losses: Float64Array;
  /** What was added to the Gram matrix's diagonal, relative to its mean. */
  readonly damping: number;
  /** The down projection that makes the best of the first `width` channels, m x width. The caller's scope owns it. */
  down(width: number): Tensor;
}

/** Query heads that read one key head: scores S_h = Q_h K^T, rotated by position. */
export interface QueryKeyProblem {
  /** e x n each, f64. */
  readonly queries: readonly Tensor[];
  /** e x n, f64. */
  readonly key: Tensor;
  /** sum of x x^T over calibration tokens, n x n, f64, symmetric. */
  readonly gram: Tensor;
  /** The positions that tokens stand at, each as often as the others. */
  readonly positions: RopeTable;
}

/** Which rotary pairs to keep, for every number of them at once. */
export interface PairReduction {
  /** All e / 2 pairs, the most useful first. */
  readonly order: Uint32Array;
  /** Mean over positions of sum over h ||S_h - S_h'||_F^2 with the first k pairs of `order`, k = 0 ... e / 2. */
  readonly losses: Float64Array;
}

/** A value head and the output projections of the query heads that read it: O_h V x, mixed over tokens by the attention. */
export interface ValueOutputProblem {
  /** V, e x n, f64. */
  readonly value: Tensor;
  /** O_h, d x e each, f64. */
  readonly outputs: readonly Tensor[];
  /** sum of x x^T over calibration tokens, n x n, f64, symmetric. */
  readonly gram: Tensor;
}

/** A narrower value head, for every width at once. */
export interface ValueReduction {
  /** sum over h ||(O_h V - O_h' V') X||_F^2 at width k, k = 0 ... e. */
  readonly losses: Float64Array;
  /** V' width x n and O_h' d x width. The caller's scope owns them. */
  at(width: number): { readonly value: Tensor; readonly outputs: readonly Tensor[] };
}
