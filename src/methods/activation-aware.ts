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
import { eigh, scaleColumns, scaleRows, scope, svd, type Tensor } from "../tensor/index.ts";
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

/** Largest condition number of W that the quick route is trusted with; Q is orthonormal to eps times its square, 2e-8. */
const MAX_CONDITION = 1e4;

/** W^T W = V Lambda V^T gives Q = W V Lambda^(-1/2) and K = Lambda^(1/2) V^T, quicker than QR; else W = U (Sigma V^T). */
function orthonormalTimesSquare(W: Tensor): { Q: Tensor; K: Tensor } {
  const { values, vectors: V } = eigh(W.T.matmul(W)); // n, n x n
  if ((values.at(-1) ?? 0) * MAX_CONDITION ** 2 > (values[0] ?? 0)) {
    const root = values.map(Math.sqrt);
    return {
      Q: W.matmul(
        scaleColumns(
          V,
          root.map((r) => 1 / r),
        ),
      ),
      K: scaleRows(V.T, root),
    };
  }
  const { U, values: sigma, Vt } = svd(W);
  return { Q: U, K: scaleRows(Vt, sigma) };
}
