/**
 * How much the loss feels an error of a projection's outputs: ||L^T E|| in place of ||E||.
 *
 *   G  m x m   Gram matrix of the loss's gradients at the outputs y
 *   g          its mean eigenvalue
 *   L  m x m   Cholesky factor of (1 - shrinkage) G + shrinkage g I: few tokens say little of most directions
 *
 * On as many tokens for all projections, such losses of different projections are in one unit, of the divergence that they cause:
 * KL is about half of them a token (second order; the gradients' outer products stand for the Fisher matrix).
 */
import { NumericsError } from "../errors.ts";
import { addToDiagonal, cholesky, meanDiagonal, type Tensor } from "../tensor/index.ts";

/** L; the identity where no gradient came. @throws NumericsError where gradients leave directions out and shrinkage is 0. */
export function outputMetric(G: Tensor, shrinkage: number): Tensor {
  const mean = meanDiagonal(G);
  const L = cholesky(addToDiagonal(G.scale(1 - shrinkage), mean > 0 ? shrinkage * mean : 1));
  if (!L) throw new NumericsError("output gradients: expected a Gram matrix of full rank; raise --shrinkage above 0");
  return L;
}
