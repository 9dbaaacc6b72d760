/**
 * Anchored fits: each projection sees the inputs of the compressed blocks before it and aims at what the dense model put out.
 *
 *   W   m x n   weight
 *   X   n x N   inputs in the dense model; X' those of the same tokens in the compressed one
 *   H   n x n   X' X'^T
 *   K   n x n   X X'^T
 *   T   m x N   targets W ((1 - beta) X' + beta X)
 *   W*  m x n   least squares map of any rank, min ||T - V X'||_F: W + beta W (K - H) H^-1
 *
 * ||T - V X'||^2 = ||T - W* X'||^2 + ||(W* - V) X'||^2: what no map can mend, and the activation-aware problem of W*. So its
 * losses come on top of a constant. H is damped, which draws W* to W in directions that were hardly seen.
 */

import { NumericsError } from "../errors.ts";
import { addToDiagonal, cholesky, meanDiagonal, scope, solveLower, type Tensor } from "../tensor/index.ts";
import { activationAware } from "./activation-aware.ts";
import type { Decomposition, Projection } from "./method.ts";
import { decomposition } from "./terms.ts";

/** Relative to H's mean diagonal; the f32 products that H and K are summed from are good to a tenth of it. */
const DAMPING = 1e-6;

/** The best V of every rank; at beta 0, and where both models' inputs are equal, that of svd-llm on X'. */
export function anchored({ weight: W, statistics: { gram: H, dense } }: Projection, beta: number): Decomposition {
  if (!dense) throw new NumericsError("anchored: expected the inputs of both models, got those of one");
  return scope(() => {
    const target = W.add(correction(W, H, dense.cross).scale(beta)); // W*, m x n
    const made = decomposition(activationAware(target, H), DAMPING);
    return { ...made, target, holds: [...made.holds, target] };
  });
}

/** W (K - H) H^-1, m x n. */
function correction(W: Tensor, H: Tensor, K: Tensor): Tensor {
  return scope(() => {
    const L = regular(H); // n x n
    const shifted = W.matmul(K.sub(H)); // m x n
    return solveLower(L, solveLower(L, shifted.T), true).T;
  });
}

/** The Cholesky factor of the damped H; of the identity where nothing came in. */
function regular(H: Tensor): Tensor {
  const mean = meanDiagonal(H);
  const L = cholesky(addToDiagonal(H, mean > 0 ? DAMPING * mean : 1));
  if (!L) throw new NumericsError("anchored: expected a positive semidefinite Gram matrix, got one that is far from it");
  return L;
}
