/**
 * The best factors for the calibration inputs: min over rank k of ||(W - W') X||_F. One solver for most of this folder.
 *
 *   W  m x n   weight, y = W x
 *   H  n x n   Gram matrix X X^T of the inputs, positive semidefinite, singular or not
 *   C  m x m   Gram matrix W H W^T of the outputs, C = U Sigma^2 U^T
 *
 * With S S^T = H the problem is the plain one for W S, whose left singular vectors U are the eigenvectors of
 * (W S)(W S)^T = C. Hence W' = U_k U_k^T W: no inverse, no Cholesky, and dropping direction i costs exactly sigma_i^2.
 * Known as SVD-LLM's whitening, ASVD-I and -II, uncenterd LLM-ROM, Swift-SVD (arXiv:2604.01609).
 */
import { cholesky, diagonal, eigh, scaleRows, scope, solveLower, svd, type Tensor } from "../tensor/index.ts";
import { squares, type Terms } from "./terms.ts";

/** Terms ordered by sigma_i. All of them together give W whatever H is, to rounding: left is orthonormal, right = left^T W. */
export function activationAware(W: Tensor, H: Tensor): Terms {
  return W.rows <= W.columns ? throughOutputs(W, H) : throughInputs(W, H);
}

/** m <= n: the eigenvectors of C itself. */
function throughOutputs(W: Tensor, H: Tensor): Terms {
  return scope(() => {
    const C = W.matmul(H).matmul(W.T); // m x m
    const { values, vectors: U } = eigh(C);
    return { left: U, right: U.T.matmul(W), losses: squares(values) };
  });
}

/** m > n: W = Q K with Q^T Q = I leaves the problem of K, n x n: C = Q (K H K^T) Q^T. */
function throughInputs(W: Tensor, H: Tensor): Terms {
  return scope(() => {
    const { Q, K } = orthonormalTimesSquare(W); // m x n, n x n
    const { left, right, losses } = throughOutputs(K, H);
    return { left: Q.matmul(left), right, losses };
  });
}

/** Largest ratio of pivots that Cholesky QR is trusted with: Q is orthonormal to eps times the squared condition number of W. */
const MAX_PIVOT_RATIO = 1e4;

/** W^T W = L L^T gives Q = W L^-T and K = L^T, quicker than Householder's QR; where W is near singular, W = U (Sigma V^T). */
function orthonormalTimesSquare(W: Tensor): { Q: Tensor; K: Tensor } {
  const L = cholesky(W.T.matmul(W)); // n x n
  const pivots = L ? diagonal(L) : [0];
  if (L && Math.min(...pivots) * MAX_PIVOT_RATIO > Math.max(...pivots)) return { Q: solveLower(L, W.T).T, K: L.T };
  const { U, values: sigma, Vt } = svd(W);
  return { Q: U, K: scaleRows(Vt, sigma) };
}
