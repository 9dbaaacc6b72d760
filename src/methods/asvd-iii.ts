/**
 * ASVD-III: eigenvectors with a milder scale than the square root. Lu, Xu, Ding, Li, Kang 2025, arXiv:2503.17101.
 *
 *   A  m x n   weight
 *   H  n x n   Gram matrix X X^T of the calibration inputs, H = P Lambda P^T
 *   S  n x n   P (Lambda / lambda_1)^gamma; A' is best for ||(A - A') S||
 *
 * From memory, not re-read: that one scalar gamma replaces the square roots of ASVD-II. That it is their exponent is our
 * reading; gamma 1/2 is then ASVD-II and 0 the plain SVD. The paper reports no gain over ASVD-II.
 */
import { eigh, scaleColumns, scope, type Tensor } from "../tensor/index.ts";
import { activationAware } from "./activation-aware.ts";
import type { Method } from "./method.ts";
import { decomposition } from "./terms.ts";

export const asvdIII: Method = {
  name: "asvd-iii",
  title: "ASVD-III: SVD whitened by eigenvectors, gamma for the square root",
  paper: "arXiv:2503.17101",
  needs: ["gram"],
  propagate: "original",
  decompose: ({ weight: A, statistics: { gram: H } }, { gamma }) =>
    scope(() => decomposition(activationAware(A, gramToThePower(H, 2 * gamma)))),
};

/** S S^T = P (Lambda / lambda_1)^power P^T, n x n. */
function gramToThePower(H: Tensor, power: number): Tensor {
  const { values, vectors: P } = eigh(H); // n, n x n
  const largest = values[0] || 1;
  return scaleColumns(
    P,
    values.map((value) => Math.max(value / largest, 0) ** power),
  ).matmul(P.T);
}
