/** A matrix as a sum of rank-one terms, the most important first, so that a smaller rank is a slice. */
import { ShapeError } from "../errors.ts";
import { eigh, scope, type Tensor } from "../tensor/index.ts";
import type { Decomposition, Factors } from "./method.ts";

/** W = sum over i of left_i right_i: left m x p, right p x n, p = min(m, n). */
export interface Terms {
  readonly left: Tensor;
  readonly right: Tensor;
  /** Squared loss of dropping each term, in the metric that ordered them; losses of several terms add up. */
  readonly losses: Float64Array;
}

/**
 * The plain SVD: W = sum of terms of size sigma_i, so the first k are the best rank-k matrix in ||W - W'||_F (Eckart-Young).
 *
 * Through the smaller of W W^T = U Sigma^2 U^T and W^T W = V Sigma^2 V^T, four times as fast as a full SVD. Squaring blurs
 * directions whose sigma is below sqrt(eps) sigma_1, but which only among themselves; the eigenvectors stay orthonormal to
 * rounding, and W = U (U^T W) holds for any such U: all terms together give W to rounding.
 */
export function principalTerms(W: Tensor, k = Math.min(W.rows, W.columns)): Terms {
  return scope(() => {
    if (W.rows <= W.columns) {
      const { values, vectors } = eigh(W.matmul(W.T)); // m x m
      const U = vectors.columnRange(0, k).contiguous(); // m x k
      return { left: U, right: U.T.matmul(W), losses: squares(values) };
    }
    const { values, vectors } = eigh(W.T.matmul(W)); // n x n
    const V = vectors.columnRange(0, k).contiguous(); // n x k
    return { left: W.matmul(V), right: V.T.contiguous(), losses: squares(values) };
  });
}

/** Eigenvalues of a Gram matrix are squares; rounding may leave the smallest ones below zero. */
export function squares(eigenvalues: Float64Array): Float64Array {
  return eigenvalues.map((value) => Math.max(value, 0));
}

/** The factors that hold the first k terms. */
export function leading({ left, right }: Terms, k: number): Factors {
  checkRank(k, right.rows);
  return { left: left.columnRange(0, k).contiguous(), right: right.rowRange(0, k).contiguous() };
}

/** The decomposition whose factors of rank k are its first k terms. */
export function decomposition(terms: Terms, damping = 0): Decomposition {
  return {
    losses: terms.losses,
    damping,
    holds: [terms.left, terms.right],
    factors: (rank) => leading(terms, rank),
  };
}

export function checkRank(rank: number, largest: number): void {
  if (!Number.isInteger(rank) || rank < 1 || rank > largest) throw new ShapeError("rank", `1 to ${largest}`, `${rank}`);
}
