/** The contract of a projection method: mathematics only, no files, no architecture, no logging. */
import type { Skeleton, Tensor } from "../tensor/index.ts";
import type { UnitOrder } from "./module-method.ts";

/** W ~ left right (+ bias): left m x k, right k x n. All f64; `parameters` and `expand` in factors.ts read them. */
export interface Factors {
  readonly left: Tensor;
  /** k x n; with a skeleton only its first k - s rows, for the skeleton stands for the others. */
  readonly right: Tensor;
  /** Added to the projection's output, besides a bias that it has already; m values. */
  readonly bias?: Tensor;
  readonly skeleton?: Skeleton;
}

/**
 * What is known of a projection's inputs x (n values each), summed over N calibration tokens. All f64.
 * What the method's `needs` does not name may be empty: gram 0 x 0, arrays of length 0.
 */
export interface InputStatistics {
  readonly tokens: number;
  /** sum of x x^T, n x n, symmetric, uncenterd. */
  readonly gram: Tensor;
  /** Mean of x, n values. */
  readonly mean: Float64Array;
  /** Mean of |x|, n values. */
  readonly meanAbs: Float64Array;
  /** Largest |x|, n values. */
  readonly maxAbs: Float64Array;
  /** sqrt(t) mean(x) of each batch of t tokens, B x n; absent where an older version summed them. */
  readonly batchMeans?: Tensor | undefined;
  /** Of the same tokens in the dense model, where x are their inputs in the compressed one. */
  readonly dense?: DenseInputs | undefined;
  /** `Projection.gradients` of a projection of the site, by its name in the block; where they were summed. */
  readonly outputGradients?: ((projection: string) => Tensor) | undefined;
}

/** Inputs d of the dense model beside the inputs x of the compressed one. Both f64. */
export interface DenseInputs {
  /** sum of d d^T, n x n. */
  readonly gram: Tensor;
  /** sum of d x^T, n x n. */
  readonly cross: Tensor;
}

export interface Projection {
  /** W, m x n (out x in), f64, so that y = W x. */
  readonly weight: Tensor;
  readonly statistics: InputStatistics;
  /** sum of g g^T of the loss's gradients g at y, m x m, f64; for methods whose `needs` name it. */
  readonly gradients?: Tensor | undefined;
}

/** What a method makes of one projection: factors of any rank, from one decomposition where the mathematics allows. */
export interface Decomposition {
  /**
   * Squared loss of dropping each direction: the loss at rank k is the sum from k on. In the method's own metric (that of the
   * calibration inputs for svd-llm, asvd-ii, rom), where losses are additive. With nesting a bound that the loss comes close to.
   */
  readonly losses?: Float64Array;
  /**
   * Eigenvalues of the output Gram matrix W H W^T, largest first, where the method computed them: their sum from k on bounds
   * the calibration loss of any factors of rank k from below.
   */
  readonly outputSpectrum?: Float64Array;
  /** What the factors come to as their rank grows, m x n, where that is not the weight. */
  readonly target?: Tensor;
  /** What was added to the Gram matrix's diagonal, relative to its mean; 0 when nothing was. */
  readonly damping: number;
  /** The tensors that `factors` reads, so that `scope` and `dispose` see them; the projection's own are not among them. */
  readonly holds: readonly Tensor[];
  /** The factors of rank k, 1 <= k <= min(m, n). The caller's scope owns them; the projection must still live. */
  factors(rank: number): Factors;
}

/** `dense`: the inputs in the dense model, beside those in the compressed one. */
export type Statistic = "gram" | "moments" | "gradients" | "dense";

/** Every number a method may be given; each reads those that it names in its header. */
export interface MethodOptions {
  /** ASVD: exponent of the activation scale, in [0, 2]; 0 is the plain SVD. */
  readonly alpha: number;
  /** ASVD: what the scale of an input is, its mean or its largest absolute value. */
  readonly scale: "abs-mean" | "abs-max";
  /** Share k1 / k of the rank that the method itself fits, in [0, 1], the rest being fitted to what that leaves of the weight. */
  readonly nesting?: number | undefined;
  /** ASVD-III: exponent of the Gram matrix's eigenvalues, in [0, 1]; 1/2 is ASVD-II, 0 the plain SVD. */
  readonly gamma: number;
  /** K-FAC: share of the identity in the metric of the outputs, in (0, 1]; 1 is svd-llm. */
  readonly shrinkage: number;
  /** Ridge: what is added to the Gram matrix's diagonal, relative to its mean, >= 0. */
  readonly mu: number;
  /** SAES-SVD: share of the dense model's outputs in the targets, beta = alpha / (1 + alpha), in [0, 1]; 1 is aa-svd. */
  readonly anchor?: number | undefined;
  /**
   * ROM: output features as they are; centerd with the bias that this calls for; centerd without it as published; or in each batch
   * about its own mean, with the bias (Bolaco's pooled covariance).
   */
  readonly center: "none" | "mean" | "paper" | "pooled";
  /** Narrower parts: channels and rotary pairs dropped one after the other, or by scores of their own as MoDeGPT does. */
  readonly order: UnitOrder;
}

export const METHOD_DEFAULTS: MethodOptions = {
  alpha: 0.5,
  scale: "abs-mean",
  nesting: undefined,
  gamma: 0.25,
  shrinkage: 0.2,
  mu: 0.01,
  anchor: undefined,
  center: "none",
  order: "elimination",
};

/** Those among other options. */
export function methodOptions(options: MethodOptions): MethodOptions {
  const names = Object.keys(METHOD_DEFAULTS) as (keyof MethodOptions)[];
  return Object.fromEntries(names.map((name) => [name, options[name]])) as unknown as MethodOptions;
}

export interface Method {
  /** What the user types; also the file's name. */
  readonly name: string;
  /** Title line for tables and docs. */
  readonly title: string;
  readonly paper: string;
  /** What has to be summed over calibration tokens; empty for data-free methods. */
  readonly needs: readonly Statistic[];
  /** Which activations its paper calibrates later blocks on; the user may choose the other. */
  readonly propagate: "original" | "compressed";
  /** Whether it makes parts of blocks narrower instead of factoring projections; it is then never asked to decompose one. */
  readonly parts?: true;
  /** Whether its factors come with a bias, under these options; never when absent. */
  addsBias?(options: MethodOptions): boolean;
  /** Share of the rank that it fits itself where the user names none; 1 when absent. */
  readonly nesting?: number;
  /** The factors of rank k2 for what its share of the rank leaves of the weight; the plain SVD when absent. */
  fitResidual?(residual: Tensor, k2: number): Factors;
  /** Rows of `right` that a skeleton stands for at rank k; none when absent. */
  skeletonRows?(rank: number, options: MethodOptions): number;
  /** All of the rank for its own fit; `nesting` is seen to by nested.ts. */
  decompose(projection: Projection, options: MethodOptions): Decomposition;
}
