/**
 * What factors cost, exact for those of any method. With D = W - W', inputs x and an added bias b':
 * the calibration loss is the sum of ||D x - b'||^2 = tr(D H D^T) - 2 N b'^T D mean + N ||b'||^2 over N tokens.
 * Where the dense model's inputs d are known too, W d is what should come out, and E = d - x: the sum of ||D x + W E||^2.
 */
import { row, scope, type Tensor } from "../tensor/index.ts";
import { product } from "./factors.ts";
import type { DenseInputs, Factors, InputStatistics } from "./method.ts";

/** ||(W - W') X - b'||_F^2 over the calibration inputs, or ||W X_dense - W' X||_F^2 where both are known. */
export function calibrationLoss(W: Tensor, factors: Factors, statistics: InputStatistics): number {
  return scope(() => lossOf(W, residual(W, factors), factors.bias, statistics));
}

/** D, m x n. */
function residual(W: Tensor, factors: Factors): Tensor {
  return scope(() => W.sub(product(factors)));
}

/** In the precision of D; sums in f64. */
function lossOf(W: Tensor, D: Tensor, bias: Tensor | undefined, statistics: InputStatistics): number {
  const { gram: H, mean, tokens: N, dense } = statistics;
  return scope(() => {
    const linear = inner(D.matmul(H.to(D.dtype)), D);
    if (dense) return Math.max(linear + shiftLoss(W, D, H, dense), 0);
    if (!bias) return Math.max(linear, 0);
    const b = bias.reshape(D.rows, 1);
    return Math.max(linear - 2 * N * inner(b, D.matmul(row(mean).T.to(D.dtype))) + N * b.sumOfSquares(), 0);
  });
}

/** The sum of ||D x + W E||^2 - ||D x||^2 for factors without a bias. */
function shiftLoss(W: Tensor, D: Tensor, H: Tensor, { gram: G, cross: K }: DenseInputs): number {
  return scope(() => {
    const toInputs = K.sub(H); // sum of E x^T
    const toItself = G.sub(K).sub(K.T).add(H); // sum of E E^T
    return 2 * inner(W.matmul(toInputs.to(W.dtype)), D) + inner(W.matmul(toItself.to(W.dtype)), W);
  });
}

/** What a report says of factors; W and they in f32 or f64. */
export interface Costs {
  /** Share of the (dense model's) ||W X||_F^2 that is kept on calibration text, 1 when there was none; null without statistics. */
  readonly retainedEnergy: number | null;
  /** ||W - W'||_F / ||W||_F; 0 for a weight of zeros. A bias does not count. */
  readonly relativeError: number;
}

/** @param energy ||W X||_F^2 where it is known, as the sum of a decomposition's `outputSpectrum`. */
export function costs(W: Tensor, factors: Factors, statistics: InputStatistics | undefined, energy?: number): Costs {
  return scope(() => {
    const D = residual(W, factors);
    const kept = statistics && shareKept(lossOf(W, D, factors.bias, statistics), energy ?? outputEnergy(W, statistics));
    return { retainedEnergy: kept ?? null, relativeError: relativeSize(D, W) };
  });
}

const shareKept = (loss: number, energy: number) => (energy > 0 ? 1 - loss / energy : 1);

/** ||W X||_F^2 over the calibration inputs, those of the dense model where they are known. */
function outputEnergy(W: Tensor, { gram, dense }: InputStatistics): number {
  return scope(() => inner(W.matmul((dense?.gram ?? gram).to(W.dtype)), W));
}

/** ||D||_F / ||W||_F; 0 for a weight of zeros. */
function relativeSize(D: Tensor, W: Tensor): number {
  const squared = D.sumOfSquares();
  return squared > 0 ? Math.sqrt(squared / W.sumOfSquares()) : 0;
}

/** The bias that makes the mean output right, the best one for these factors: b' = (W - W') mean, m values. */
export function meanBias(W: Tensor, factors: Factors, mean: Float64Array): Tensor {
  return scope(() => W.sub(product(factors)).matmul(row(mean).T).reshape(W.rows));
}

/** Sum of the products of equal entries, tr(A B^T). */
function inner(A: Tensor, B: Tensor): number {
  return scope(() => A.mul(B).to("f64").rowSums().columnSums().toFloat64Array()[0] as number);
}
