/**
 * How much the loss feels an error of a projection's outputs: ||L^T E|| in place of ||E||.
 *
 *   G  m x m   Gram matrix of the loss's gradients at the outputs y, its mean eigenvalue made 1
 *   L  m x m   Cholesky factor of (1 - shrinkage) G + shrinkage I: few tokens say little of most directions
 */
import { NumericsError } from "../errors.ts";
import { addToDiagonal, cholesky, meanDiagonal, type Tensor } from "../tensor/index.ts";

/** L; the identity where no gradient came. @throws NumericsError where gradients leave directions out and shrinkage is 0. */
export function outputMetric(G: Tensor, shrinkage: number): Tensor {
  const mean = meanDiagonal(G);
  const share = mean > 0 ? (1 - shrinkage) / mean : 0;
  const L = cholesky(addToDiagonal(G.scale(share), mean > 0 ? shrinkage : 1));
  if (!L) throw new NumericsError("output gradients: expected a Gram matrix of full rank; raise --shrinkage above 0");
  return L;
}
