/** The contract of a projection method: mathematics only, no files, no architecture, no logging. */
import type { Tensor } from "../tensor/index.ts";

/** W ~ left right (+ bias): left m x k, right k x n, bias m. All f64. */
export interface Factors {
  readonly left: Tensor;
  readonly right: Tensor;
  readonly bias?: Tensor;
}

/** What is known of a projection's inputs x (n values each), summed over N calibration tokens. All f64. */
export interface InputStatistics {
  readonly tokens: number;
  /** sum of x x^T, n x n, symmetric, uncentred. */
  readonly gram: Tensor;
  /** Mean of x, n values. */
  readonly mean: Float64Array;
  /** Mean of |x|, n values. */
  readonly meanAbs: Float64Array;
  /** Largest |x|, n values. */
  readonly maxAbs: Float64Array;
}

export interface Projection {
  /** W, m x n (out x in), f64, so that y = W x. */
  readonly weight: Tensor;
  readonly statistics: InputStatistics;
}

/** What a method makes of one projection: factors of any rank, from one decomposition where the mathematics allows. */
export interface Decomposition {
  /**
   * Squared calibration loss of dropping each direction, largest first: the loss at rank k is the sum from k on.
   * Only where losses are additive in the method's own metric (methods.md section 0).
   */
  readonly losses?: Float64Array;
  /** What was added to the Gram matrix's diagonal, relative to its mean; 0 when nothing was. */
  readonly damping: number;
  /** The factors of rank k, 1 <= k <= min(m, n). The caller's scope owns them. */
  factors(rank: number): Factors;
}

export type Statistic = "gram" | "moments";

/** Every number a method may be given; each reads those that it names in its header. */
export interface MethodOptions {
  /** ASVD: exponent of the activation scale. */
  readonly alpha: number;
  /** NSVD, NID: share k1 / k of the rank given to the activation-aware step, in [0, 1]. */
  readonly nesting: number;
}

export interface Method {
  /** What the user types; also the file's name. */
  readonly name: string;
  /** Title line for tables and docs. */
  readonly title: string;
  readonly paper: string;
  /** What has to be summed over calibration tokens; empty for data-free methods. */
  readonly needs: readonly Statistic[];
  decompose(projection: Projection, options: MethodOptions): Decomposition;
}
