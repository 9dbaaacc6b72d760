/**
 * Whitening: S with S S^T = H, so that ||E X|| = ||E S|| for every E. The one place where a Gram matrix is inverted.
 *
 *   H  n x n   Gram matrix X X^T of the inputs
 *   S  n x n   its whitening; never formed where it is diagonal
 */
import { NumericsError } from "../errors.ts";
import { cholesky, eigh, identity, scaleColumns, scope, solveLower, type Tensor } from "../tensor/index.ts";
import { principalTerms, type Terms } from "./terms.ts";

export interface Whitening {
  /** A S. */
  apply(A: Tensor): Tensor;
  /** B S^-1, or B S^+ where S is singular. */
  undo(B: Tensor): Tensor;
}

/** The terms of W in the metric of S: W S = U Sigma V^T, each right vector brought back by S^-1. */
export function whitenedTerms(W: Tensor, S: Whitening): Terms {
  return scope(() => {
    const { left, right, losses } = principalTerms(S.apply(W));
    return { left, right: S.undo(right), losses };
  });
}

/** S = P Lambda^(1/2) of H = P Lambda P^T, and S^+ = Lambda^(-1/2) P^T without the directions that are rounding noise. */
export function eigenWhitening(H: Tensor): Whitening {
  const { values, vectors: P } = eigh(H); // n, n x n
  const noise = H.rows * Number.EPSILON * (values[0] ?? 0);
  const root = values.map((value) => (value > noise ? Math.sqrt(value) : 0));
  const inverse = root.map((value) => (value > 0 ? 1 / value : 0));
  return {
    apply: (A) => scope(() => scaleColumns(A.matmul(P), root)),
    undo: (B) => scope(() => scaleColumns(B, inverse).matmul(P.T)),
  };
}

/** S = diag(s), s > 0. */
export function diagonalWhitening(s: Float64Array): Whitening {
  const inverse = s.map((value) => 1 / value);
  return { apply: (A) => scaleColumns(A, s), undo: (B) => scaleColumns(B, inverse) };
}

/** H^-1 of a positive definite matrix, n x n. @throws NumericsError when it is not. */
export function inverse(H: Tensor): Tensor {
  return scope(() => {
    const L = cholesky(H);
    if (!L) throw new NumericsError("inverse: expected a positive definite matrix; damp it first");
    const undone = solveLower(L, identity(H.rows)); // L^-1
    return undone.T.matmul(undone);
  });
}
