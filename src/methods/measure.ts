/**
 * What factors cost, exact for those of any method. With D = W - W', inputs x and an added bias b':
 * the calibration loss is the sum of ||D x - b'||^2 = tr(D H D^T) - 2 N b'^T D mean + N ||b'||^2 over N tokens.
 */
import { row, scope, type Tensor } from "../tensor/index.ts";
import { product } from "./factors.ts";
import type { Factors, InputStatistics } from "./method.ts";

/** ||(W - W') X - b'||_F^2 over the calibration inputs. */
export function calibrationLoss(W: Tensor, factors: Factors, { gram: H, mean, tokens: N }: InputStatistics): number {
  return scope(() => {
    const D = W.sub(product(factors)); // m x n
    const linear = inner(D.matmul(H), D);
    if (!factors.bias) return Math.max(linear, 0);
    const b = factors.bias.reshape(W.rows, 1);
    return Math.max(linear - 2 * N * inner(b, D.matmul(row(mean).T)) + N * b.sumOfSquares(), 0);
  });
}

/**
 * Share of ||W X||_F^2 that the factors keep on the calibration inputs; 1 when there was none.
 * @param energy ||W X||_F^2 where it is known, as the sum of a decomposition's `outputSpectrum`.
 */
export function retainedEnergy(
  W: Tensor,
  factors: Factors,
  statistics: InputStatistics,
  energy = outputEnergy(W, statistics),
): number {
  return energy > 0 ? 1 - calibrationLoss(W, factors, statistics) / energy : 1;
}

/** ||W X||_F^2 over the calibration inputs. */
export function outputEnergy(W: Tensor, { gram: H }: InputStatistics): number {
  return scope(() => inner(W.matmul(H), W));
}

/** ||W - W'||_F / ||W||_F; 0 for a weight of zeros. A bias does not count. */
export function relativeError(W: Tensor, factors: Factors): number {
  const squared = scope(() => W.sub(product(factors)).sumOfSquares());
  return squared > 0 ? Math.sqrt(squared / W.sumOfSquares()) : 0;
}

/** The bias that makes the mean output right, the best one for these factors: b' = (W - W') mean, m values. */
export function meanBias(W: Tensor, factors: Factors, mean: Float64Array): Tensor {
  return scope(() => W.sub(product(factors)).matmul(row(mean).T).reshape(W.rows));
}

/** Sum of the products of equal entries, tr(A B^T). */
function inner(A: Tensor, B: Tensor): number {
  return scope(() => A.mul(B).rowSums().columnSums().toFloat64Array()[0] as number);
}
