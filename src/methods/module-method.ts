/** The contract of a module method: several projections replaced together by smaller dense ones; mathematics only. */
import type { Tensor } from "../tensor/index.ts";

/** A gated MLP seen from its channels: y = D h, h_i = silu(g_i x) (u_i x) with g_i, u_i the rows of gate and up. */
export interface ChannelProblem {
  /** D, m x f, f64: the down projection. */
  readonly down: Tensor;
  /** C = sum of h h^T over calibration tokens, f x f, f64, symmetric. */
  readonly gram: Tensor;
}

/** Which channels to keep, for every width at once. */
export interface ChannelReduction {
  /** All f channels, the most useful first: width k keeps the first k. */
  readonly order: Uint32Array;
  /** Squared calibration loss of losing each channel of `order`, those before it kept: the loss at width k is the sum from k on. */
  readonly losses: Float64Array;
  /** What was added to the Gram matrix's diagonal, relative to its mean. */
  readonly damping: number;
  /** The down projection that makes the best of the first `width` channels, m x width. The caller's scope owns it. */
  down(width: number): Tensor;
}

export interface ChannelMethod {
  /** What the user types; also the file's name. */
  readonly name: string;
  readonly title: string;
  readonly paper: string;
  reduce(problem: ChannelProblem): ChannelReduction;
}
